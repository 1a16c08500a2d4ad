"""One import: everything is first written next to the results file, then one transaction takes in all of it or nothing.

Rows never leave the file. What a source no longer says is named in `withdrawn_observations`.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from forecast.core.errors import StoreError
from forecast.core.observation_rows import ObservationRow
from forecast.core.observation_tables import IDENTIFIED_COLUMNS
from forecast.core.records import CheckpointRecord, RunRecord, ScoredShard, TaskRecord
from forecast.store import arrow_tables, transfer
from forecast.store.import_tables import TableChange, take_table
from forecast.store.ingest import ingest
from forecast.store.locking import explain, quote
from forecast.store.sessions import writing
from forecast.store.spool import SpoolFile, owner_token

_STALE_S = 24 * 3600.0
"""A folder so old was left by an import that was killed."""


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What an import did to the file."""

    items_merged: int
    """Item results that were new in exports."""
    tables: tuple[TableChange, ...]
    """One for each table, in the order in which they were added."""


class Import:
    """Collects what belongs together; `commit` stores it. A context: leaving it removes what was not stored.

    Raises:
        StoreError: disk full, folder not writable, or the results file stays locked; nothing was imported.
    """

    def __init__(self, path: Path, *, timeout_s: float) -> None:
        """Name the results file; it is opened by `commit`."""
        self._path = path
        self._timeout_s = timeout_s
        self._folder = path.parent / f".{path.name}.import-{time.time_ns():020d}-{secrets.token_hex(4)}"
        self._checkpoints: list[pa.Table] = []
        self._tasks: dict[str, pa.Table] = {}
        self._runs: dict[str, pa.Table] = {}
        self._files: list[SpoolFile] = []
        self._tables: list[tuple[str, Path]] = []
        self._exports: list[Path] = []
        self._observations: list[tuple[str, Sequence[ObservationRow]]] = []
        self._withdrawn: list[str] = []

    def __enter__(self) -> Self:
        """Make the folder in which everything waits."""
        if not self._path.parent.is_dir():
            raise StoreError(f"no folder {self._path.parent} for the results file", remedy="create it, or name another `db=`")
        try:
            self._remove_stale()
            self._folder.mkdir()
        except OSError as error:
            raise explain(error, self._path) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Remove the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _remove_stale(self) -> None:
        for folder in self._path.parent.glob(f".{self._path.name}.import-*"):
            with suppress(OSError):
                if time.time() - folder.stat().st_mtime > _STALE_S:
                    shutil.rmtree(folder, ignore_errors=True)

    def add_run(self, checkpoint: CheckpointRecord, task: TaskRecord, run: RunRecord, shard: ScoredShard) -> None:
        """Add a checkpoint's answers to a whole task."""
        self._checkpoints.append(arrow_tables.checkpoint_table(checkpoint, registered_at=time.time_ns()))
        if task.task_id not in self._tasks:
            self._tasks[task.task_id] = arrow_tables.task_table(task)
        if run.run_id not in self._runs:
            self._runs[run.run_id] = arrow_tables.run_table(run)
            self._write("shard", run.run_id, arrow_tables.shard_table(shard))

    def add_observations(self, rows: Sequence[ObservationRow], *, source: str = "") -> None:
        """Add measurements; of two statements of one source about the same checkpoint and task, the later counts."""
        if rows:
            self._observations.append((source, rows))

    def add_table(self, source: str, batches: Iterable[pa.RecordBatch]) -> None:
        """Add a table by `IDENTIFIED_COLUMNS`: all that `source`, which its rows name, says from now on."""
        path = self._folder / f"table.{len(self._tables)}.parquet"
        try:
            with pq.ParquetWriter(path, IDENTIFIED_COLUMNS, compression="zstd") as writer:
                for batch in batches:
                    writer.write_batch(batch)
        except OSError as error:
            raise explain(error, self._path) from error
        self._tables.append((source, path))

    def add_export(self, folder: Path) -> None:
        """Add what another results file was exported to."""
        self._exports.append(folder)

    def withdraw(self, observation_ids: Iterable[str]) -> None:
        """Say that stored observations do not count any more."""
        self._withdrawn += observation_ids

    def _write(self, kind: str, owner: str, table: pa.Table) -> None:
        path = self._folder / f"{kind}.{owner_token(owner)}.parquet"
        try:
            pq.write_table(table, path, compression="zstd")
        except OSError as error:
            raise explain(error, self._path) from error
        self._files.append(SpoolFile(path=path, kind=kind, owner=owner_token(owner), size_bytes=path.stat().st_size))

    def commit(self) -> Imported:
        """Take everything in, in one transaction."""
        for kind, tables in (
            ("checkpoint", self._checkpoints),
            ("task", list(self._tasks.values())),
            ("run", list(self._runs.values())),
        ):
            if tables:
                self._write(kind, "all", pa.concat_tables(tables))
        try:
            with writing(self._path, timeout_s=self._timeout_s) as connection:
                connection.execute("BEGIN")
                try:
                    imported = self._take_in(connection)
                    connection.execute("COMMIT")
                except BaseException:
                    with suppress(duckdb.Error):
                        connection.execute("ROLLBACK")
                    raise
        except StoreError as error:
            # Unlike an evaluation's results, an import's do not wait beside the file.
            remedy = "close that program and run the command again" if "held open" in error.found else error.remedy
            raise StoreError(error.found, expected=error.expected, remedy=f"{remedy}; nothing was imported") from error
        return imported

    def _take_in(self, connection: duckdb.DuckDBPyConnection) -> Imported:
        merged = sum(transfer.take_export(connection, folder) for folder in self._exports)
        batch = _next_batch(connection)
        if self._withdrawn:
            connection.execute(
                "INSERT INTO withdrawn_observations SELECT DISTINCT unnest($ids::VARCHAR[]), $batch",
                {"ids": self._withdrawn, "batch": batch},
            )
        for number, (source, rows) in enumerate(self._observations):
            self._write("observations", str(number), arrow_tables.observation_table(rows, source=source, batch=batch))
        result = ingest(connection, self._files, "store.main")
        if result.damaged or len(result.done) < len(self._files):
            reason = result.damaged[0].reason if result.damaged else "a run without its task"
            raise StoreError(f"what was to be imported cannot be read back ({reason})", remedy="check the disk")
        if self._runs:
            connection.execute(_COMPLETE, {"runs": list(self._runs), "now": batch})
        tables = tuple(take_table(connection, source, quote(str(path)), batch) for source, path in self._tables)
        return Imported(items_merged=merged, tables=tables)


_COMPLETE = """
INSERT INTO run_closings BY NAME
SELECT 'import-' || run_id AS closing_id, run_id, $now AS closed_at, 'complete' AS status, '' AS error
FROM (SELECT unnest($runs::VARCHAR[]) AS run_id) AS new
WHERE NOT EXISTS (FROM run_closings AS old WHERE old.run_id = new.run_id AND old.status = 'complete')
"""


def _next_batch(connection: duckdb.DuckDBPyConnection) -> int:
    """Now, but after everything that is stored: a clock may have been set back."""
    latest = connection.execute(
        """SELECT greatest((SELECT coalesce(max(batch), 0) FROM imported_observations),
            (SELECT coalesce(max(batch), 0) FROM withdrawn_observations))"""
    ).fetchone()
    return max(time.time_ns(), int(latest[0]) + 1 if latest else 0)
