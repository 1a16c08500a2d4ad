"""What a cache limit deletes, and above all what it does not: beside huggingface_hub's real cache and its shared store."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from forecast.core.errors import HubError, UsageError
from forecast.core.progress import SilentProgress
from forecast.core.records import CheckpointRequest
from forecast.hub import Fetcher, parse_bytes
from forecast.hub.ledger import Ledger

LIMIT = 150_000


def request(revision: str, source: str = "lab/tiny") -> CheckpointRequest:
    return CheckpointRequest(source=source, revision=revision)


def weights(step: int) -> bytes:
    return bytes([step]) * 100_000


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def limited(cache: Path) -> Callable[..., Fetcher]:
    def build(hub, limit: int | None = LIMIT, progress: SilentProgress | None = None) -> Fetcher:
        return Fetcher(cache_folder=cache, endpoint=hub.endpoint, cache_limit_bytes=limit, progress=progress)

    return build


@pytest.fixture
def commits(hub, files) -> list[str]:
    """Five revisions whose weights differ."""
    return [hub.add("lab/tiny", f"step{step}", {**files, "model.safetensors": weights(step)}) for step in range(5)]


def snapshot(cache: Path, commit: str, source: str = "lab/tiny") -> Path:
    return cache / f"models--{source.replace('/', '--')}" / "snapshots" / commit


def user_downloads(hub, cache: Path, source: str, commit: str, *names: str) -> None:
    """As transformers or `hf download` do."""
    from huggingface_hub import hf_hub_download

    for name in names:
        hf_hub_download(source, name, revision=commit, cache_dir=cache, endpoint=hub.endpoint)


def assert_whole(cache: Path) -> None:
    """The library finds nothing damaged, and every link leads to content."""
    from huggingface_hub import scan_cache_dir

    assert scan_cache_dir(cache).warnings == []
    assert not [path for path in cache.rglob("*") if path.is_symlink() and not path.exists()]


def test_another_model_that_shares_the_weights_keeps_them(xet_hub, files, cache: Path, limited) -> None:
    theirs = xet_hub.add("lab/twin", "main", {**files, "model.safetensors": weights(1)})
    ours = [xet_hub.add("lab/tiny", f"step{step}", {**files, "model.safetensors": weights(step)}) for step in (1, 2)]
    fetcher = limited(xet_hub)
    fetcher.fetch(request("step1"))
    user_downloads(xet_hub, cache, "lab/twin", theirs, "config.json", "model.safetensors")
    store = cache / "blobs"
    shown = snapshot(cache, theirs, "lab/twin") / "model.safetensors"
    assert shown.resolve().is_relative_to(store)
    assert shown.resolve() == (snapshot(cache, ours[0]) / "model.safetensors").resolve()
    fetcher.fetch(request("step2"))
    assert not snapshot(cache, ours[0]).exists()
    assert shown.read_bytes() == weights(1)
    assert_whole(cache)


def test_a_payload_goes_with_the_last_of_our_models_that_shares_it(xet_hub, files, cache: Path, limited) -> None:
    for source in ("lab/tiny", "lab/twin"):
        xet_hub.add(source, "step1", {**files, "model.safetensors": weights(1)})
    xet_hub.add("lab/tiny", "step2", {**files, "model.safetensors": weights(2)})
    fetcher = limited(xet_hub)
    fetcher.fetch(request("step1"))
    fetcher.fetch(request("step1", "lab/twin"))
    fetcher.fetch(request("step2"))
    contents = {path.read_bytes()[:1] for path in cache.rglob("*") if path.is_file() and path.stat().st_size == 100_000}
    assert contents == {bytes([2])}
    assert_whole(cache)


def test_an_earlier_download_of_another_revision_stays(hub, files, commits, cache: Path, limited) -> None:
    for step in (7, 8):
        hub.add("lab/tiny", f"step{step}", {**files, "model.safetensors": weights(0)})
    user_downloads(hub, cache, "lab/tiny", commits[0], "config.json", "tokenizer.json", "model.safetensors")
    fetcher = limited(hub)
    for revision in ("step7", "step8", "step1", "step2"):
        fetcher.fetch(request(revision))
    folder = snapshot(cache, commits[0])
    assert (folder / "model.safetensors").read_bytes() == weights(0)
    assert (folder / "tokenizer.json").read_bytes() == files["tokenizer.json"]
    assert not snapshot(cache, commits[1]).exists()
    assert_whole(cache)


def test_the_files_that_were_there_stay_where_we_brought_the_others(hub, files, commits, cache: Path, limited) -> None:
    user_downloads(hub, cache, "lab/tiny", commits[1], "config.json", "tokenizer.json")
    fetcher = limited(hub)
    fetcher.fetch(request("step1"))
    fetcher.fetch(request("step2"))
    assert {path.name for path in snapshot(cache, commits[1]).iterdir()} == {"config.json", "tokenizer.json"}
    assert (snapshot(cache, commits[1]) / "config.json").read_bytes() == files["config.json"]
    assert_whole(cache)


def test_what_the_user_fetched_anew_is_no_longer_ours(hub, files, commits, cache: Path, limited) -> None:
    fetcher = limited(hub)
    folder = fetcher.fetch(request("step1"))
    (folder / "model.safetensors").resolve().unlink()
    (folder / "model.safetensors").unlink()
    user_downloads(hub, cache, "lab/tiny", commits[1], "model.safetensors")
    fetcher.fetch(request("step2"))
    fetcher.fetch(request("step3"))
    assert (folder / "model.safetensors").read_bytes() == weights(1)
    assert not snapshot(cache, commits[2]).exists()


@pytest.mark.parametrize("damage", ["missing", "torn", "garbage"])
def test_without_its_record_nothing_is_deleted(hub, commits, cache: Path, limited, damage: str) -> None:
    fetcher = limited(hub)
    folder = fetcher.fetch(request("step1"))
    ledger = cache / "models--lab--tiny" / ".forecast" / commits[1]
    if damage == "missing":
        ledger.unlink()
    else:
        lines = [line for line in ledger.read_bytes().splitlines() if b"model.safetensors" in line]
        ledger.write_bytes(lines[0][:-9] if damage == "torn" else b'\xff\x00\n[1]\n"x"\n{"file": 3}\n{"file": "../../x"}\n')
    fetcher.fetch(request("step2"))
    assert (folder / "model.safetensors").read_bytes() == weights(1)
    # A line that a kill cut short does not spoil what is noted behind it.
    ledger.write_bytes(b'{"file": "mod')
    Ledger(folder=cache / "models--lab--tiny", commit=commits[1]).record("config.json")
    assert set(Ledger(folder=cache / "models--lab--tiny", commit=commits[1]).brought()) == {"config.json"}


def test_what_was_fetched_without_a_limit_stays(hub, commits, cache: Path, limited) -> None:
    limited(hub).fetch(request("step1"))
    plain = limited(hub, None)
    plain.fetch(request("step0"))
    plain.fetch(request("step1"))
    fetcher = limited(hub)
    for step in range(4):
        fetcher.fetch(request(f"step{step}"))
    assert [snapshot(cache, commit).exists() for commit in commits] == [True, True, False, True, False]


def test_a_name_leads_to_a_snapshot_or_is_not_there(hub, commits, cache: Path, limited) -> None:
    fetcher = limited(hub)
    requests = [request(f"step{step}") for step in range(1, 5)]
    fetcher.plan(requests)
    assert fetcher.preview(requests[3]).missing_bytes > 0
    for entry in requests[:3]:
        fetcher.fetch(entry)
        assert_whole(cache)
    refs = cache / "models--lab--tiny" / "refs"
    assert {path.name: path.read_text() for path in refs.iterdir()} == {"step3": commits[3]}


def test_offline_nothing_is_deleted(hub, commits, cache: Path, limited, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    generous = limited(hub, 10 * LIMIT)
    for step in (1, 2):
        generous.fetch(request(f"step{step}"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    fetcher = limited(hub)
    for step in (1, 2):
        fetcher.fetch(request(f"step{step}"))
    assert all(snapshot(cache, commit).exists() for commit in commits[1:3])


def test_without_links_files_lie_once_and_are_deleted_too(hub, commits, cache: Path, limited, monkeypatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", True)
    fetcher = limited(hub)
    for step in (1, 2):
        folder = fetcher.fetch(request(f"step{step}"))
        assert (folder / "model.safetensors").read_bytes() == weights(step)
        assert not (folder / "model.safetensors").is_symlink()
        assert len([path for path in cache.rglob("*") if path.is_file() and path.stat().st_size == 100_000]) == 1
    assert not snapshot(cache, commits[1]).exists()


HOLDER = """
import sys
from pathlib import Path
from forecast.core.records import CheckpointRequest
from forecast.hub import Fetcher
fetcher = Fetcher(cache_folder=Path(sys.argv[1]), endpoint=sys.argv[2], cache_limit_bytes=150_000)
fetcher.fetch(CheckpointRequest(source="lab/tiny", revision="step1"))
print("holds", flush=True)
sys.stdin.read()
"""


@contextmanager
def holder(hub, cache: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has fetched step1 under a limit and uses it."""
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(cache), hub.endpoint],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        yield process
        process.send_signal(signal.SIGKILL)


def test_the_next_run_deletes_what_a_killed_one_has_left(hub, commits, cache: Path, limited) -> None:
    with holder(hub, cache):
        pass
    assert snapshot(cache, commits[1]).exists()
    limited(hub).fetch(request("step2"))
    assert [snapshot(cache, commit).exists() for commit in commits] == [False, False, True, False, False]
    assert_whole(cache)


def test_what_another_process_uses_stays_until_that_one_ends(hub, commits, cache: Path, limited) -> None:
    progress = SilentProgress()
    with holder(hub, cache):
        fetcher = limited(hub, progress=progress)
        fetcher.fetch(request("step2"))
        assert (snapshot(cache, commits[1]) / "model.safetensors").read_bytes() == weights(1)
        assert [notice.partition(":")[0] for notice in progress.notices] == ["`cache_limit=` is exceeded for now"]
    fetcher.fetch(request("step3"))
    assert [snapshot(cache, commit).exists() for commit in commits[1:4]] == [False, False, True]
    assert_whole(cache)


def test_what_is_fetched_ahead_once_more_is_held_throughout(hub, commits, cache: Path, limited, monkeypatch) -> None:
    fetcher = limited(hub, 3 * LIMIT)
    requests = [request(f"step{step}") for step in (1, 2, 1)]
    fetcher.plan(requests[:2])
    fetcher.fetch(requests[0])
    fetcher.fetch(requests[1])
    fetcher.prefetch(requests[2])
    held = []
    bring = Fetcher._bring

    def watched(self: Fetcher, *arguments: Any) -> Path:
        held.append(Ledger(folder=cache / "models--lab--tiny", commit=commits[1]).is_in_use())
        return bring(self, *arguments)

    monkeypatch.setattr(Fetcher, "_bring", watched)
    fetcher.fetch(requests[2])
    assert held == [True]


def test_the_cache_limit_evicts_what_is_scored_and_nothing_else(hub, files, tmp_path: Path) -> None:
    commits = [hub.add("lab/tiny", f"step{step}", {**files, "model.safetensors": bytes([step]) * 100_000}) for step in range(4)]
    Fetcher(cache_folder=tmp_path, endpoint=hub.endpoint).fetch(request("step0"))
    # A checkpoint that something else put into the cache is not ours to delete.
    (tmp_path / "models--lab--tiny" / ".forecast" / commits[0]).unlink()
    requests = [request(f"step{step}") for step in range(4)]
    fetcher = Fetcher(cache_folder=tmp_path, endpoint=hub.endpoint, cache_limit_bytes=250_000)
    fetcher.plan(requests)
    folders = [fetcher.fetch(entry) for entry in requests]
    assert folders[3].is_dir()
    assert folders[0].is_dir()
    assert not folders[1].exists()
    assert (folders[3] / "tokenizer.json").read_bytes() == files["tokenizer.json"]
    left = {path.name for path in (tmp_path / "models--lab--tiny" / "snapshots").iterdir()}
    assert left <= {commits[0], commits[2], commits[3]}


def test_the_cache_never_holds_more_than_its_limit(hub, files, tmp_path: Path) -> None:
    for step in range(6):
        hub.add("lab/tiny", f"step{step}", {**files, "model.safetensors": bytes([step]) * 100_000})
    requests = [request(f"step{step}") for step in range(6)]
    fetcher = Fetcher(cache_folder=tmp_path, endpoint=hub.endpoint, cache_limit_bytes=150_000)
    fetcher.plan(requests)
    for entry in requests:
        assert (fetcher.fetch(entry) / "model.safetensors").stat().st_size == 100_000
        blobs = [path.stat().st_size for path in (tmp_path / "models--lab--tiny" / "blobs").iterdir()]
        assert sum(blobs) <= 150_000
    tiny = Fetcher(cache_folder=tmp_path / "other", endpoint=hub.endpoint, cache_limit_bytes=50_000)
    with pytest.raises(HubError, match=r"needs 102,0\d\d bytes, and `cache_limit=` allows 50,000"):
        tiny.fetch(requests[0])


def test_sizes_are_read_with_their_units() -> None:
    assert parse_bytes("1.5GiB") == int(1.5 * 2**30)
    assert parse_bytes("250") == 250
    for wrong in ("", "GB", "-1GB", "0", "1XB"):
        with pytest.raises(UsageError):
            parse_bytes(wrong)
