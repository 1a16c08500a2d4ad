"""The hub's shared cache on disk (HF_HOME/hub), in huggingface_hub's own layout, so that other tools find the same files.

`models--ORG--NAME/blobs/DIGEST` holds contents, `snapshots/COMMIT/FILE` links to them, `refs/REVISION` names a commit.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from forecast.core.errors import HubError
from forecast.hub.listing import PICKLED, SAFETENSORS, Listing, RemoteFile, choose_weights

_COMMIT = re.compile(r"[0-9a-f]{40}")
_MARKER_FOLDER = ".forecast"


def default_cache_folder() -> Path:
    """Return the cache that HF_HOME and HF_HUB_CACHE name."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE).expanduser()


@dataclass(frozen=True, kw_only=True)
class RepoCache:
    """One model's part of the cache."""

    root: Path
    """The cache folder of all models."""
    hub_id: str

    @property
    def folder(self) -> Path:
        """Folder of this model."""
        return self.root / ("models--" + self.hub_id.replace("/", "--"))

    def blob(self, file: RemoteFile) -> Path:
        """Return where a file's content lies."""
        return self.folder / "blobs" / file.digest

    def snapshot(self, commit: str) -> Path:
        """Return the folder that shows the model at a commit."""
        return self.folder / "snapshots" / commit

    def has(self, commit: str, file: RemoteFile) -> bool:
        """Whether a file is there in full."""
        shown = self.snapshot(commit) / file.path
        return shown.is_file() and shown.stat().st_size == file.size

    def missing(self, commit: str, files: Iterable[RemoteFile]) -> list[RemoteFile]:
        """Return the files whose content is not there; those with a blob but no link are not missing."""
        return [file for file in files if not self.has(commit, file) and not self._blob_is_whole(file)]

    def _blob_is_whole(self, file: RemoteFile) -> bool:
        blob = self.blob(file)
        return blob.is_file() and blob.stat().st_size == file.size

    def show(self, commit: str, file: RemoteFile) -> Path:
        """Link a blob into the snapshot; copy it where the file system has no links."""
        target = self.snapshot(commit) / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        if self.has(commit, file):
            return target
        target.unlink(missing_ok=True)
        try:
            target.symlink_to(os.path.relpath(self.blob(file), target.parent))
        except FileExistsError:
            # Another process linked the same content in between.
            pass
        except OSError:
            shutil.copyfile(self.blob(file), target)
        return target

    def write_ref(self, revision: str, commit: str) -> None:
        """Remember which commit a branch or tag stood for, for use without a network."""
        if not revision or revision == commit or ".." in revision:
            return
        ref = self.folder / "refs" / revision
        if ref.is_file() and ref.read_text(encoding="utf-8").strip() == commit:
            return
        ref.parent.mkdir(parents=True, exist_ok=True)
        partial = ref.with_name(f"{ref.name}.{os.getpid()}.partial")
        partial.write_text(commit, encoding="utf-8")
        partial.replace(ref)

    def read_ref(self, revision: str) -> str | None:
        """Return the commit last known for a revision (itself, where it is a commit)."""
        if _COMMIT.fullmatch(revision):
            return revision
        ref = self.folder / "refs" / (revision or "main")
        return ref.read_text(encoding="utf-8").strip() if ref.is_file() else None

    def complete_snapshot(self, revision: str) -> Path | None:
        """Return the cached folder of a revision when config and all weights are there, judged without the hub."""
        commit = self.read_ref(revision)
        folder = self.snapshot(commit) if commit else None
        if folder is None or not (folder / "config.json").is_file():
            return None
        names = [path.name for path in folder.iterdir() if path.is_file()]
        try:
            weights, _ = choose_weights(names, where=str(folder))
        except HubError:
            return None
        indices = [name for name in weights if name in (SAFETENSORS[1], PICKLED[1])]
        return folder if all(_indexed_shards(folder / name) <= set(names) for name in indices) else None

    def mark_fetched(self, commit: str) -> None:
        """Note that this program downloaded a commit, which allows it to evict it again."""
        marker = self.folder / _MARKER_FOLDER / commit
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()

    def was_fetched(self, commit: str) -> bool:
        """Whether this program downloaded the commit."""
        return (self.folder / _MARKER_FOLDER / commit).is_file()

    def evict(self, commit: str) -> int:
        """Delete a snapshot and the blobs that no other snapshot of the model shows; return the bytes freed."""
        folder = self.snapshot(commit)
        if not folder.is_dir():
            return 0
        own = _blobs_of(folder)
        kept: set[Path] = set()
        for other in (self.folder / "snapshots").iterdir():
            if other != folder:
                kept |= _blobs_of(other)
        freed = 0
        shutil.rmtree(folder)
        (self.folder / _MARKER_FOLDER / commit).unlink(missing_ok=True)
        for blob in own - kept:
            freed += blob.stat().st_size
            blob.unlink()
        return freed


def _indexed_shards(index: Path) -> set[str]:
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return set(weight_map.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HubError(f"{index} is no index of weights: {error}", remedy="delete it and fetch again") from error


def _blobs_of(snapshot: Path) -> set[Path]:
    return {path.resolve() for path in snapshot.rglob("*") if path.is_symlink() and path.exists()}


def snapshot_bytes(folder: Path) -> int:
    """Bytes that a snapshot shows."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def present_bytes(cache: RepoCache, listing: Listing, files: Iterable[RemoteFile]) -> int:
    """Bytes of `files` that need not be downloaded any more."""
    wanted = list(files)
    gone = {file.path for file in cache.missing(listing.commit, wanted)}
    return sum(file.size for file in wanted if file.path not in gone)
