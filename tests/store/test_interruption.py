"""Kill -9, several processes at once, full disks and read-only folders: nothing acknowledged is lost, nothing comes twice."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from store_records import make_checkpoint, make_run, make_shard, make_task

from forecast.core.errors import StoreError
from forecast.core.records import RunStatus
from forecast.store import Store, sessions, spool

SCRIPT = Path(__file__).with_name("interrupted_writer.py")


def start(*arguments: object) -> subprocess.Popen[str]:
    paths = [str(SCRIPT.parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    command = [sys.executable, str(SCRIPT), *(str(argument) for argument in arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err + out
    return out


def test_kills_leave_the_same_tables_as_none(tmp_path: Path) -> None:
    assert "8 kills" in finish(start("kill", tmp_path, 8, 3))


@pytest.mark.slow
def test_fifty_kills_leave_the_same_tables_as_none(tmp_path: Path) -> None:
    assert "50 kills" in finish(start("kill", tmp_path, 50, 7))


def test_two_writers_and_a_reader_share_one_file(tmp_path: Path) -> None:
    path = tmp_path / "shared.duckdb"
    processes = [start("write", path, 1), start("write", path, 2), start("read", path, 2.0)]
    for process in processes:
        finish(process)
    alone = tmp_path / "alone.duckdb"
    finish(start("write", alone, 3))
    shared, single = Store(path), Store(alone)
    assert shared.problems() == []
    for table in ("item_scores", "scores", "checkpoints", "tasks", "items"):
        assert rows(shared, table) == rows(single, table)


def rows(store: Store, table: str) -> list[str]:
    return sorted(repr(row) for batch in store.query(f"FROM {table}") for row in batch.to_pylist())


def test_a_full_disk_loses_nothing_that_was_acknowledged(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    task, checkpoint = make_task(), make_checkpoint()
    run = make_run(checkpoint, task)
    store.open_run(run, checkpoint, task)
    store.append(make_shard(run, task, range(10)))

    def no_space(table: object, handle: object, **options: object) -> None:
        handle.write(b"PAR1 half a file")  # type: ignore[attr-defined]
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(spool.pq, "write_table", no_space)
        with pytest.raises(StoreError, match=r"no space left.*run the same command again"):
            store.append(make_shard(run, task, range(10, 20)))
    assert not list(store.path.with_name("results.duckdb.spool").glob(".*"))
    assert store.open_run(run, checkpoint, task) == frozenset(range(10))
    store.append(make_shard(run, task, range(10, 20)))
    store.close_run(run.run_id, RunStatus.COMPLETE, None)
    store.commit()
    assert store.score_rows()[0]["n_items"] == 20
    assert store.problems() == []


def test_a_failing_commit_keeps_the_spool(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    task, checkpoint = make_task(), make_checkpoint()
    run = make_run(checkpoint, task)
    store.open_run(run, checkpoint, task)
    store.append(make_shard(run, task))

    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(sessions, "ingest", fail)
        with pytest.raises(StoreError, match="no space left"):
            store.commit()
    assert store.commit() == 20
    assert store.problems() == []


def test_a_crash_between_commit_and_clearing_the_spool_is_harmless(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    task, checkpoint = make_task(), make_checkpoint()
    run = make_run(checkpoint, task)
    store.open_run(run, checkpoint, task)
    store.append(make_shard(run, task))
    with monkeypatch.context() as patch:
        patch.setattr(spool.Spool, "remove", lambda self, files: None)
        store.commit()
    before = rows(store, "item_scores")
    assert len(before) == 20
    assert store.commit() == 0
    assert rows(store, "item_scores") == before
    assert store.info().spooled_files == 0


def test_a_damaged_shard_is_set_aside_and_stops_nobody(store: Store) -> None:
    task, checkpoint = make_task(), make_checkpoint()
    run = make_run(checkpoint, task)
    store.open_run(run, checkpoint, task)
    store.append(make_shard(run, task, range(10)))
    store.append(make_shard(run, task, range(10, 20)))
    shard = sorted(store.path.with_name("results.duckdb.spool").glob("shard.*"))[0]
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(StoreError, match=r"1 spooled files cannot be read.*run the same evaluation again"):
        store.commit()
    assert store.open_run(run, checkpoint, task) == frozenset(range(10, 20))
    assert store.commit() == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into read-only folders")
def test_a_read_only_folder_is_one_clear_sentence(filled: Store) -> None:
    folder = filled.path.parent
    folder.chmod(0o555)
    try:
        assert filled.score_rows()
        task, checkpoint = make_task("other"), make_checkpoint()
        with pytest.raises(StoreError, match="permissions"):
            filled.open_run(make_run(checkpoint, task), checkpoint, task)
    finally:
        folder.chmod(0o755)


def test_a_folder_that_refuses_is_one_clear_sentence(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    task, checkpoint = make_task(), make_checkpoint()
    store.create()

    def refuse(self: Path, *arguments: object, **options: object) -> None:
        raise PermissionError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StoreError, match=r"cannot be written.*repair the permissions"):
        store.open_run(make_run(checkpoint, task), checkpoint, task)


def test_a_held_lock_is_named_and_the_spool_survives_it(filled: Store) -> None:
    task, checkpoint = make_task("late"), make_checkpoint("late")
    run = make_run(checkpoint, task)
    filled.open_run(run, checkpoint, task)
    filled.append(make_shard(run, task))
    impatient = Store(filled.path, timeout_s=0.2)
    code = (
        f"import duckdb, sys; c = duckdb.connect({str(filled.path)!r}, read_only=True); print('held', flush=True); "
        "sys.stdin.read()"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(StoreError, match=rf"process {holder.pid}.*the next command adds them"):
        impatient.commit()
    assert len(rows(filled, "item_scores")) == 3 * 60 + 20  # readers see the spooled shard all the same
    holder.communicate("")
    assert impatient.commit() == 20
