"""The spool: finished work waits next to the results file as Parquet files until somebody may write.

A file is written under a temporary name, forced to disk and renamed, so a file under its final name is complete.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from forecast.core.errors import StoreError
from forecast.core.hashing import content_hash
from forecast.store.locking import explain

KINDS = ("checkpoint", "task", "run", "closing", "shard", "observations", "fit", "forecast")
_STALE_PARTIAL_S = 3600.0
_CREATE_ATTEMPTS = 100
_DELETERS = 8


def owner_token(owner: str) -> str:
    """Return an owner's id for use in file names: the id itself, or its hash where some characters are not allowed there.

    >>> owner_token("0af3"), len(owner_token("a/b.c"))
    ('0af3', 32)
    """
    return owner if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", owner) else content_hash(owner)


@dataclass(frozen=True, kw_only=True)
class SpoolFile:
    """One finished file; its name is KIND.OWNER.SEQUENCE.parquet."""

    path: Path
    kind: str
    owner: str
    """Run, task or checkpoint that the file belongs to."""
    size_bytes: int


class Spool:
    """The spool folder of a results file."""

    def __init__(self, database: Path) -> None:
        """Name the folder; nothing is created yet."""
        self.folder = database.parent / f"{database.name}.spool"

    def write(self, kind: str, owner: str, table: pa.Table) -> Path:
        """Store a table durably and return its file.

        Raises:
            StoreError: disk full, folder not writable; nothing but whole files is left behind.
        """
        name = f"{kind}.{owner_token(owner)}.{time.time_ns():020d}-{secrets.token_hex(4)}"
        partial = self.folder / f".{name}.partial"
        final = self.folder / f"{name}.parquet"
        try:
            with self._create(partial) as handle:
                pq.write_table(table, handle, compression="zstd")
                handle.flush()
                os.fsync(handle.fileno())
            partial.replace(final)
            _sync_folder(self.folder)
        except OSError as error:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise explain(error, self.folder) from error
        return final

    def _create(self, partial: Path) -> BinaryIO:
        """Open a new file; another process may remove the empty folder between our two steps."""
        for _ in range(_CREATE_ATTEMPTS):
            self.folder.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                return partial.open("xb")
        return partial.open("xb")

    def files(self, kinds: Iterable[str] = KINDS, owner: str | None = None) -> list[SpoolFile]:
        """Return the finished files of some kinds, oldest first within a kind."""
        found = [
            file for file in self._scan() if file.kind in set(kinds) and (owner is None or file.owner == owner_token(owner))
        ]
        return sorted(found, key=lambda file: (KINDS.index(file.kind), file.path.name.rsplit(".", 2)[1], file.path.name))

    def has(self, kind: str, owner: str) -> bool:
        """Tell whether a file of this kind and owner waits."""
        return any(file.kind == kind and file.owner == owner_token(owner) for file in self._scan())

    def items(self, run_id: str) -> frozenset[int]:
        """Return the items of a run that wait here; a file that cannot be read counts as none."""
        found: set[int] = set()
        for file in self.files(["shard"], run_id):
            with suppress(OSError, pa.ArrowException):
                found.update(pq.read_table(file.path, columns=["item_idx"]).column("item_idx").to_pylist())
        return frozenset(found)

    def remove(self, files: Iterable[SpoolFile]) -> None:
        """Delete files that are safely in the database, the folder too once it is empty."""
        # Freeing a synced file's blocks takes the disk a moment each; together they take hardly longer.
        with ThreadPoolExecutor(_DELETERS) as pool:
            list(pool.map(lambda file: file.path.unlink(missing_ok=True), files))
        with suppress(OSError):
            self._remove_stale_partials()
            self.folder.rmdir()

    def set_aside(self, file: SpoolFile) -> Path:
        """Rename a file that cannot be read, so that it stops nobody."""
        aside = file.path.with_suffix(".damaged")
        try:
            file.path.replace(aside)
        except OSError as error:
            raise explain(error, self.folder) from error
        return aside

    def set_aside_files(self) -> list[Path]:
        """Return the files that could not be read and still lie here under another name."""
        return sorted(self.folder.glob("*.damaged"))

    def _scan(self) -> Iterator[SpoolFile]:
        try:
            entries = list(os.scandir(self.folder))
        except FileNotFoundError:
            return
        except OSError as error:
            raise explain(error, self.folder) from error
        for entry in entries:
            parts = entry.name.split(".")
            if entry.name.startswith(".") or len(parts) != 4 or parts[3] != "parquet":
                continue
            if parts[0] not in KINDS:
                raise StoreError(
                    f"{entry.path} is of an unknown kind", expected="files of this program", remedy="upgrade, or move it away"
                )
            with suppress(FileNotFoundError):
                yield SpoolFile(path=Path(entry.path), kind=parts[0], owner=parts[1], size_bytes=entry.stat().st_size)

    def _remove_stale_partials(self) -> None:
        """Delete what killed writers left half written; a living writer renames within seconds."""
        for partial in self.folder.glob(".*.partial"):
            with suppress(FileNotFoundError):
                if time.time() - partial.stat().st_mtime > _STALE_PARTIAL_S:
                    partial.unlink()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
