"""What a cache suffers: several processes at once, a full disk, one that cannot be written."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from forecast.core.errors import HubError
from forecast.core.progress import SilentProgress
from forecast.core.records import CheckpointRequest
from forecast.hub import Fetcher

REQUEST = CheckpointRequest(source="lab/tiny", revision="step1")


def test_processes_that_fetch_the_same_transfer_it_once(hub, files, tmp_path: Path) -> None:
    hub.add("lab/tiny", "step1", files)
    hub.break_next("model.safetensors", stall_seconds=2.0)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    environment = {**inherited, "HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": hub.endpoint}
    command = [sys.executable, "-m", "forecast", "fetch", "--model", "lab/tiny@step1", "--json"]
    running = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)
    ]
    for process in running:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        (row,) = json.loads(out)
        assert (Path(row["folder"]) / "model.safetensors").read_bytes() == files["model.safetensors"]
    assert [len(hub.gets(name)) for name in ("config.json", "tokenizer.json", "model.safetensors")] == [1, 1, 1]


def test_who_waits_for_another_process_says_so(hub, files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    from huggingface_hub.utils import WeakFileLock

    monkeypatch.setattr("forecast.hub.download._NOTICED_SECONDS", 0.2)
    hub.add("lab/tiny", "step1", files)
    lock = tmp_path / ".locks" / "models--lab--tiny" / f"{hashlib.sha256(files['model.safetensors']).hexdigest()}.lock"
    lock.parent.mkdir(parents=True)
    is_held, may_end = threading.Event(), threading.Event()

    class Released(SilentProgress):
        def notice(self, text: str) -> None:
            super().notice(text)
            may_end.set()

    def hold() -> None:
        with WeakFileLock(lock):
            is_held.set()
            may_end.wait(timeout=60)

    thread = threading.Thread(target=hold)
    thread.start()
    is_held.wait(timeout=60)
    progress = Released()
    Fetcher(cache_folder=tmp_path, endpoint=hub.endpoint, progress=progress).fetch(REQUEST)
    thread.join(timeout=60)
    (notice,) = progress.notices
    assert "model.safetensors: another process is fetching this file; waiting" in notice


def test_a_disk_that_fills_up_keeps_what_came_and_goes_on(hub, files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("lab/tiny", "step1", files)
    real_open = Path.open

    def open_on_full_disk(path: Path, *arguments: Any, **options: Any) -> Any:
        handle = real_open(path, *arguments, **options)
        if path.suffix != ".partial" or "b" not in arguments[0] or arguments[0] == "rb":
            return handle
        real_write = handle.write

        class Full:
            def write(self, chunk: bytes) -> int:
                if handle.tell() + len(chunk) > 300_000:
                    real_write(chunk[: 300_000 - handle.tell()])
                    raise OSError(errno.ENOSPC, "No space left on device", str(path))
                return int(real_write(chunk))

            def __enter__(self) -> Full:
                return self

            def __exit__(self, *exc: object) -> None:
                handle.close()

        return Full()

    with monkeypatch.context() as full:
        full.setattr(Path, "open", open_on_full_disk)
        with pytest.raises(
            HubError, match=r"model.safetensors: the disk of the cache is full; free space.*it resumes"
        ) as caught:
            Fetcher(cache_folder=tmp_path, endpoint=hub.endpoint).fetch(REQUEST)
    assert "\n" not in str(caught.value)
    folder = Fetcher(cache_folder=tmp_path, endpoint=hub.endpoint).fetch(REQUEST)
    assert (folder / "model.safetensors").read_bytes() == files["model.safetensors"]
    assert hub.gets("model.safetensors")[-1][2] == "bytes=300000-"


def test_a_disk_without_room_is_said_before_anything_comes(hub, files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    hub.add("lab/tiny", "step1", {**files, "config.json": b"{}"})
    free = 70_000_000
    monkeypatch.setattr(shutil, "disk_usage", lambda path: type("Usage", (), {"free": free})())
    Fetcher(cache_folder=tmp_path / "a", endpoint=hub.endpoint).fetch(REQUEST)
    free = 67_500_000
    before = len(hub.gets("model.safetensors"))
    with pytest.raises(
        HubError, match=r"model.safetensors: 1,048,576 bytes are missing, and the cache's disk has 67,500,000 free"
    ):
        Fetcher(cache_folder=tmp_path / "b", endpoint=hub.endpoint).fetch(REQUEST)
    assert len(hub.gets("model.safetensors")) == before


@pytest.fixture
def unwritable(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the file system below a folder refuse whatever writes, as a read-only mount does (also to root)."""

    def refuse(folder: Path) -> None:
        def guard(module: Any, name: str, position: int) -> None:
            real = getattr(module, name)

            def guarded(*arguments: Any, **options: Any) -> Any:
                path = arguments[position]
                writes = name != "open" or arguments[1] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
                if writes and isinstance(path, str | os.PathLike) and str(path).startswith(str(folder)):
                    raise OSError(errno.EROFS, "Read-only file system", str(path))
                return real(*arguments, **options)

            monkeypatch.setattr(module, name, guarded)

        for name, position in (("open", 0), ("mkdir", 0), ("symlink", 1), ("unlink", 0), ("replace", 1), ("rename", 1)):
            guard(os, name, position)

    return refuse


@pytest.mark.parametrize("limit", [None, 10_000_000])
def test_a_cache_that_cannot_be_written_serves_what_it_has(
    hub, files, tmp_path: Path, unwritable: Any, limit: int | None
) -> None:
    hub.add("lab/tiny", "step1", files)
    hub.add("lab/tiny", "step2", {**files, "model.safetensors": b"other" * 1000})
    commit = hub.add("lab/tiny", "again", files)
    folder = Fetcher(cache_folder=tmp_path, endpoint=hub.endpoint).fetch(REQUEST)
    unwritable(tmp_path)
    fetcher = Fetcher(cache_folder=tmp_path, endpoint=hub.endpoint, cache_limit_bytes=limit)
    assert fetcher.fetch(REQUEST) == folder
    assert (folder / "model.safetensors").read_bytes() == files["model.safetensors"]
    for revision in ("step2", "again"):
        with pytest.raises(HubError, match=r"cannot be written.*; set HF_HOME to a folder that can be written") as caught:
            fetcher.fetch(CheckpointRequest(source="lab/tiny", revision=revision))
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "models--lab--tiny" / "snapshots" / commit).exists()


def test_a_cache_folder_that_is_a_file_is_one_line(hub, files, tmp_path: Path) -> None:
    hub.add("lab/tiny", "step1", files)
    (tmp_path / "cache").write_text("not a folder")
    with pytest.raises(HubError, match=r"the cache's disk failed: Not a directory .*; check HF_HOME"):
        Fetcher(cache_folder=tmp_path / "cache", endpoint=hub.endpoint).fetch(REQUEST)


def test_wrong_bytes_that_another_revision_shows_are_not_taken(hub, files, tmp_path: Path) -> None:
    hub.add("lab/tiny", "step0", files)
    folder = Fetcher(cache_folder=tmp_path, endpoint=hub.endpoint).fetch(CheckpointRequest(source="lab/tiny", revision="step0"))
    (folder / "model.safetensors").resolve().write_bytes(files["model.safetensors"][::-1])
    hub.add("lab/tiny", "step1", files | {"config.json": b"{}"})
    again = Fetcher(cache_folder=tmp_path, endpoint=hub.endpoint).fetch(REQUEST)
    assert (again / "model.safetensors").read_bytes() == files["model.safetensors"]
    assert (folder / "model.safetensors").read_bytes() == files["model.safetensors"]
