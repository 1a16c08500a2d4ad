"""A results file that another program holds open: everybody waits, says so after a moment, and gives up in one line."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Timer

import pytest
from store_records import make_checkpoint, make_run, make_shard, make_task

from forecast.cli import main
from forecast.core.errors import StoreError
from forecast.core.records import RunStatus
from forecast.store import Store, locking
from forecast.store import store as store_module

Holder = subprocess.Popen[str]


@pytest.fixture
def held(store: Store) -> Iterator[tuple[Store, Holder]]:
    """Six models on one task, in a file that another process has open for writing until its stdin is closed."""
    task = make_task()
    for size in range(6):
        checkpoint = make_checkpoint(f"m{size}", params=10 ** (6 + size), tokens=20 * 10 ** (6 + size))
        run = make_run(checkpoint, task)
        store.open_run(run, checkpoint, task)
        store.append(make_shard(run, task))
        store.close_run(run.run_id, RunStatus.COMPLETE, None)
    store.commit()
    code = f"import duckdb, sys; c = duckdb.connect({str(store.path)!r}); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield store, holder


def run_cli(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["forecast", *arguments])
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


QUESTIONS = {
    "sql": ("sql", "SELECT count(*) AS n FROM scores", "--json"),
    "predict": ("predict", "--task", "toy", "--family", "toy", "--flops", "1e25", "--json"),
}


@pytest.mark.parametrize("command", QUESTIONS)
def test_a_command_waits_until_the_file_is_free(
    command: str, held: tuple[Store, Holder], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store, holder = held
    assert holder.stdin is not None
    release = Timer(1.0, holder.stdin.close)
    started = time.monotonic()
    release.start()
    assert run_cli(monkeypatch, *QUESTIONS[command], "--db", str(store.path)) == 0
    assert time.monotonic() - started >= 1.0
    release.join()
    found = json.loads(capsys.readouterr().out)
    assert found == [{"n": 6}] if command == "sql" else found["fitted_on"]["n_checkpoints"] == 6


@pytest.mark.parametrize("command", QUESTIONS)
def test_a_command_gives_up_in_one_line(
    command: str, held: tuple[Store, Holder], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store, holder = held
    monkeypatch.setattr(store_module, "DEFAULT_TIMEOUT_S", 0.3)
    assert run_cli(monkeypatch, *QUESTIONS[command], "--db", str(store.path)) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith(f"error: {store.path} is held open by process {holder.pid}; expected the file to be free")


@pytest.mark.parametrize("quiet", [False, True])
def test_waiting_is_said_on_stderr_unless_quiet(quiet: bool, held: tuple[Store, Holder]) -> None:
    store, holder = held
    command = [sys.executable, "-m", "forecast", "sql", "SELECT count(*) AS n FROM scores", "--format", "csv"]
    command += ["--db", str(store.path), *(["--quiet"] if quiet else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as waiting:
        assert waiting.stderr is not None
        assert holder.stdin is not None
        said = "" if quiet else waiting.stderr.readline()
        if quiet:
            time.sleep(locking._SILENT_WAIT_S + 2.0)
        holder.stdin.close()
        out, rest = waiting.communicate(timeout=60)
    assert waiting.returncode == 0
    assert out == "n\n6\n"
    assert rest == ""
    if not quiet:
        assert said.startswith(f"{store.path} is held open by process {holder.pid}; waiting up to 5")
        assert said.rstrip().endswith("(Ctrl-C stops waiting, nothing is lost)")


def test_who_waits_is_told_once(
    held: tuple[Store, Holder], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(locking, "_SILENT_WAIT_S", 0.1)
    logging.getLogger("forecast").setLevel(logging.WARNING)
    with pytest.raises(StoreError, match="held open"):
        Store(held[0].path, timeout_s=0.6).score_rows()
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_short_wait_is_silent(held: tuple[Store, Holder], caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("forecast").setLevel(logging.WARNING)
    with pytest.raises(StoreError, match="held open"):
        Store(held[0].path, timeout_s=0.3).score_rows()
    assert caplog.records == []


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_writer_waits_for_readers_and_then_commits(store: Store, tmp_path: Path) -> None:
    task, checkpoint = make_task(), make_checkpoint()
    run = make_run(checkpoint, task)
    store.open_run(run, checkpoint, task)
    store.append(make_shard(run, task))
    go = tmp_path / "go"
    code = (
        f"import duckdb, pathlib, time\nc = duckdb.connect({str(store.path)!r}, read_only=True)\n"
        f"pathlib.Path({str(go)!r}).touch()\ntime.sleep(1.0)"
    )
    reader = subprocess.Popen([sys.executable, "-c", code])
    wait_for(go.exists)
    assert store.commit() == len(task.items)
    assert reader.wait() == 0
