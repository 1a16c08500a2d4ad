"""The hub's shared cache on disk (HF_HOME/hub), in huggingface_hub's own layout, so that other tools find the same files.

`models--ORG--NAME/blobs/DIGEST` holds contents, `snapshots/COMMIT/FILE` links to them, `refs/REVISION` names a commit.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import threading
from collections.abc import Iterable, Iterator, Set
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from forecast.core.errors import HubError
from forecast.hub.ledger import Ledger
from forecast.hub.listing import PICKLED, SAFETENSORS, Listing, RemoteFile, choose_weights

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_GATE_SECONDS = 60.0
"""Linking and deleting take moments; longer means a lock that a killed process left on a file system without real locks."""


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

    def show(self, commit: str, file: RemoteFile, *, is_new: bool = False) -> bool:
        """Link a blob into the snapshot, unless it is shown already; return whether anything was done.

        Where there are no links, a new blob is moved there and an old one, which something else may show, is copied.
        """
        from huggingface_hub import constants

        target = self.snapshot(commit) / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        if self.has(commit, file):
            return False
        target.unlink(missing_ok=True)
        try:
            if constants.HF_HUB_DISABLE_SYMLINKS:
                raise OSError("links are switched off")
            target.symlink_to(os.path.relpath(self.blob(file), target.parent))
        except FileExistsError:
            # Another program linked the same content in between.
            return False
        except OSError:
            self._place(file, target, is_new=is_new)
        return True

    def _place(self, file: RemoteFile, target: Path, *, is_new: bool) -> None:
        blob = self.blob(file)
        if is_new:
            blob.replace(target)
            return
        # Never half a file under its own name: a copy is whole before it is shown.
        copy = blob.with_name(f"{blob.name}.{os.getpid()}.copy")
        try:
            shutil.copyfile(blob, copy)
            copy.replace(target)
        finally:
            copy.unlink(missing_ok=True)

    @contextmanager
    def gate(self) -> Iterator[bool]:
        """Keep this program's processes apart while one links or deletes files of the model; whether that succeeded.

        It fails in a cache that cannot be written, where nobody deletes anything either. Not to be nested.
        """
        from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]  # exported lazily

        lock = self.root / ".locks" / self.folder.name / "forecast.lock"
        with ExitStack() as stack:
            try:
                lock.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(WeakFileLock(lock, timeout=_GATE_SECONDS))
            except OSError:  # the lock's Timeout among them
                yield False
            else:
                yield True

    def ledger(self, commit: str) -> Ledger:
        """Return the record of what this program brought for a commit."""
        return Ledger(folder=self.folder, commit=commit)

    def write_ref(self, revision: str, commit: str) -> None:
        """Remember which commit a branch or tag pointed to, for use without a network."""
        # A name without a snapshot counts as damage to the library, which then lists and deletes nothing of the model.
        if not revision or revision == commit or ".." in revision or not self.snapshot(commit).is_dir():
            return
        ref = self.folder / "refs" / revision
        with contextlib.suppress(OSError):  # a cache that cannot be written is as good without the name
            if ref.is_file() and ref.read_text(encoding="utf-8").strip() == commit:
                return
            ref.parent.mkdir(parents=True, exist_ok=True)
            # Beside the names, a leftover would be taken for one.
            partial = self.folder / f".{os.getpid()}-{threading.get_ident()}.ref"
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

    def evict(self, commit: str) -> bool:
        """Delete what this program brought for a commit under a limit; whether nothing of that is left.

        What another process uses stays, and so does whatever the ledger does not name.
        """
        with self.gate() as is_held:
            ledger = self.ledger(commit)
            names = ledger.brought().keys()
            if not names:
                return True
            try:
                if not is_held or ledger.is_in_use() or not self._delete(commit, names):
                    return False
            except OSError:  # somebody else deletes, too, or the cache cannot be written
                return False
            ledger.clear()
            return True

    def discard(self, commit: str, file: RemoteFile) -> None:
        """Take a file with wrong content out of a snapshot, and out of the cache where nothing else shows it."""
        with self.gate():
            with contextlib.suppress(OSError):
                self._delete(commit, {file.path})
            # Also where the library finds the model damaged and deletes nothing.
            (self.snapshot(commit) / file.path).unlink(missing_ok=True)

    def quarantine(self, file: RemoteFile) -> None:
        """Put wrong content that other snapshots show aside: under its name it would be taken for the file."""
        with contextlib.suppress(FileNotFoundError):
            self.blob(file).rename(self.blob(file).with_name(f"{file.digest}.wrong"))

    def _delete(self, commit: str, names: Set[str]) -> bool:
        """Delete files of a snapshot as the library does: it alone knows which blobs other snapshots and models share."""
        from huggingface_hub import scan_cache_dir

        scan = scan_cache_dir(self.root)
        for repo in scan.repos:
            for revision in repo.revisions if repo.repo_path.name == self.folder.name else ():
                if revision.commit_hash != commit:
                    continue
                chosen = [
                    file for file in revision.files if file.file_path.relative_to(revision.snapshot_path).as_posix() in names
                ]
                if len(chosen) == len(revision.files):
                    for ref in revision.refs:  # first, as a kill must not leave a name without its snapshot
                        (self.folder / "refs" / ref).unlink(missing_ok=True)
                scan.delete_files(*chosen).execute()
                with contextlib.suppress(OSError):  # something else is left in it
                    self.snapshot(commit).rmdir()
                return True
        return False


def _indexed_shards(index: Path) -> set[str]:
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return set(weight_map.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HubError(f"{index} is not an index of weights: {error}", remedy="delete it and fetch again") from error


def snapshot_bytes(folder: Path) -> int:
    """Bytes that a snapshot shows."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def present_bytes(cache: RepoCache, listing: Listing, files: Iterable[RemoteFile]) -> int:
    """Bytes of `files` that need not be downloaded any more."""
    wanted = list(files)
    gone = {file.path for file in cache.missing(listing.commit, wanted)}
    return sum(file.size for file in wanted if file.path not in gone)
