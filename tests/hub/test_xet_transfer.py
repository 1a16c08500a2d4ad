"""Files in Xet storage, against a storage on loopback and the real compiled client."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from forecast.core.errors import HubError
from forecast.core.progress import SilentProgress, Stage
from forecast.core.records import CheckpointRequest
from forecast.hub import Fetcher

REQUEST = CheckpointRequest(source="lab/tiny", revision="step1")


class CountingProgress(SilentProgress):
    """Adds up what the stages were told."""

    def __init__(self) -> None:
        super().__init__()
        self.done = 0.0
        self.total = 0.0

    @contextmanager
    def stage(self, name: str, total: float | None, unit: str = "") -> Iterator[Stage]:
        outer = self
        self.total += total or 0

        class Counting:
            def advance(self, amount: float = 1.0) -> None:
                outer.done += amount

            def describe(self, text: str) -> None: ...

            def retotal(self, total: float) -> None: ...

        yield Counting()


@pytest.fixture
def progress() -> CountingProgress:
    return CountingProgress()


@pytest.fixture
def fetcher(xet_hub, tmp_path: Path, progress: CountingProgress) -> Fetcher:
    return Fetcher(cache_folder=tmp_path / "cache", endpoint=xet_hub.endpoint, sleep=lambda seconds: None, progress=progress)


def kept(cache: Path) -> list[Path]:
    """Weights-sized files in the cache, wherever they lie."""
    return [path for path in cache.rglob("*") if path.is_file() and not path.is_symlink() and path.stat().st_size > 100_000]


def test_large_files_come_from_the_storage_and_small_ones_as_before(xet_hub, fetcher, progress, files, tmp_path: Path) -> None:
    xet_hub.add("lab/tiny", "step1", files)
    folder = fetcher.fetch(REQUEST)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        assert (folder / name).read_bytes() == files[name]
    assert len([entry for entry in xet_hub.requests if entry[1].startswith("/xorb/")]) == 2
    assert progress.done == progress.total == sum(path.stat().st_size for path in folder.iterdir())
    assert progress.notices == []
    (weights,) = kept(tmp_path / "cache")
    assert weights.parent.parent == tmp_path / "cache" / "blobs"


def test_what_another_model_has_brought_is_not_transferred_again(xet_hub, fetcher, files) -> None:
    xet_hub.add("lab/tiny", "step1", files)
    xet_hub.add("lab/twin", "step1", files)
    fetcher.fetch(REQUEST)
    before = len([entry for entry in xet_hub.requests if entry[1].startswith("/xorb/")])
    twin = fetcher.fetch(CheckpointRequest(source="lab/twin", revision="step1"))
    assert (twin / "model.safetensors").read_bytes() == files["model.safetensors"]
    assert len([entry for entry in xet_hub.requests if entry[1].startswith("/xorb/")]) == before


def test_a_storage_that_fails_is_left_for_the_plain_way(xet_hub, fetcher, progress, files, tmp_path: Path) -> None:
    del files["tokenizer.json"]
    commit = xet_hub.add("lab/tiny", "step1", files)
    xet_hub.break_next(f"/xet-read-token/{commit}", status=401, times=9)
    folder = fetcher.fetch(REQUEST)
    assert (folder / "model.safetensors").read_bytes() == files["model.safetensors"]
    assert progress.done == progress.total
    (notice,) = progress.notices
    assert "model.safetensors: the transfer from Xet storage failed" in notice
    assert "\n" not in notice
    assert not list((tmp_path / "cache").rglob("*.incomplete"))


def test_wrong_bytes_from_the_storage_are_fetched_anew_once(xet_hub, fetcher, files) -> None:
    del files["tokenizer.json"]
    xet_hub.add("lab/tiny", "step1", files)
    xet_hub.break_next("/xorb", corrupt=True)
    assert (fetcher.fetch(REQUEST) / "model.safetensors").read_bytes() == files["model.safetensors"]


def test_wrong_bytes_twice_stay_nowhere_not_even_in_the_shared_store(xet_hub, fetcher, files, tmp_path: Path) -> None:
    del files["tokenizer.json"]
    xet_hub.add("lab/tiny", "step1", files)
    xet_hub.add("lab/twin", "step1", files)
    xet_hub.break_next("/xorb", corrupt=True, times=2)
    with pytest.raises(HubError, match=r"model.safetensors: the content's hash is"):
        fetcher.fetch(REQUEST)
    assert kept(tmp_path / "cache") == []
    twin = fetcher.fetch(CheckpointRequest(source="lab/twin", revision="step1"))
    assert (twin / "model.safetensors").read_bytes() == files["model.safetensors"]


def test_wrong_bytes_that_another_program_shared_are_replaced_for_both(xet_hub, fetcher, files, tmp_path: Path) -> None:
    from huggingface_hub import hf_hub_download

    del files["tokenizer.json"]
    commit = xet_hub.add("lab/tiny", "step1", files)
    xet_hub.add("lab/twin", "step1", files)
    theirs = xet_hub.repos["lab/twin"].revisions["step1"]
    xet_hub.break_next("/xorb", corrupt=True)
    shown = hf_hub_download(
        "lab/twin", "model.safetensors", revision=theirs, cache_dir=tmp_path / "cache", endpoint=xet_hub.endpoint
    )
    assert Path(shown).read_bytes() == files["model.safetensors"][::-1]
    folder = fetcher.fetch(REQUEST)
    assert folder.name == commit
    assert (folder / "model.safetensors").read_bytes() == Path(shown).read_bytes() == files["model.safetensors"]


@pytest.mark.parametrize("is_shared", [True, False])
def test_wrong_bytes_that_another_revision_shows_are_never_taken(
    xet_hub, fetcher, files, tmp_path: Path, is_shared: bool
) -> None:
    from huggingface_hub import hf_hub_download

    del files["tokenizer.json"]
    xet_hub.add("lab/tiny", "step1", files)
    theirs = xet_hub.add("lab/tiny", "step2", files | {"config.json": b"{}"})
    xet_hub.break_next("/xorb", corrupt=True, times=3)
    shown = hf_hub_download(
        "lab/tiny", "model.safetensors", revision=theirs, cache_dir=tmp_path / "cache", endpoint=xet_hub.endpoint
    )
    blob, wrong = Path(shown).parent / Path(shown).readlink(), Path(shown).read_bytes()
    if not is_shared:
        blob.unlink()
        blob.write_bytes(wrong)
    with pytest.raises(HubError, match=r"model.safetensors: the content's hash is"):
        fetcher.fetch(REQUEST)
    assert (fetcher.fetch(REQUEST) / "model.safetensors").read_bytes() == files["model.safetensors"]


def test_the_storage_can_be_switched_off(xet_hub, fetcher, files, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    xet_hub.add("lab/tiny", "step1", files)
    assert (fetcher.fetch(REQUEST) / "model.safetensors").read_bytes() == files["model.safetensors"]
    assert not [entry for entry in xet_hub.requests if entry[1].startswith(("/xorb/", "/v1/"))]


def test_what_a_plain_download_left_is_gone_on_with(xet_hub, fetcher, files, tmp_path: Path) -> None:
    xet_hub.add("lab/tiny", "step1", files)
    digest = hashlib.sha256(files["model.safetensors"]).hexdigest()
    blobs = tmp_path / "cache" / "models--lab--tiny" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{digest}.partial").write_bytes(files["model.safetensors"][:700_000])
    assert (fetcher.fetch(REQUEST) / "model.safetensors").read_bytes() == files["model.safetensors"]
    assert xet_hub.gets("model.safetensors")[0][2] == "bytes=700000-"


def test_remains_of_killed_transfers_go_and_running_ones_stay(xet_hub, fetcher, files, tmp_path: Path) -> None:
    xet_hub.add("lab/tiny", "step1", files)
    digest = hashlib.sha256(files["model.safetensors"]).hexdigest()
    blobs = tmp_path / "cache" / "models--lab--tiny" / "blobs"
    blobs.mkdir(parents=True)
    old, new, other = (blobs / name for name in (f"{digest}.1234.incomplete", f"{digest}.5678.incomplete", "ab.1.incomplete"))
    for path in (old, new, other):
        path.write_bytes(b"x")
    for path in (old, other):
        os.utime(path, (time.time() - 7200, time.time() - 7200))
    fetcher.fetch(REQUEST)
    assert (old.exists(), new.exists(), other.exists()) == (False, True, True)
