"""The results store: what scorers write and everybody reads. Nothing holds the file open between two calls."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from forecast.core.errors import InputError, StoreError
from forecast.core.forecasts import Forecast
from forecast.core.hashing import content_hash
from forecast.core.ladder_choice import ChosenLadder, ShotsRule
from forecast.core.model_items import ModelItems, StoredRun
from forecast.core.observation_rows import Notice, ObservationRow
from forecast.core.observations import Ladder
from forecast.core.records import CheckpointRecord, RunCounters, RunRecord, RunStatus, ScoredShard, TaskRecord
from forecast.core.whole_files import real_path
from forecast.store import arrow_tables, conclusions, maintenance, queries, transfer
from forecast.store.imports import Import
from forecast.store.ladders import LadderQuery, StoredTask, read_ladders, read_stored_tasks
from forecast.store.locking import rows_of
from forecast.store.maintenance import StoreInfo
from forecast.store.model_items import read_model_items, read_runs
from forecast.store.named_queries import NamedQuery
from forecast.store.sessions import check_readable, is_stored, overlaid, reading, stored, stored_items, take_in, writing
from forecast.store.spool import Spool
from forecast.store.validation import check_shard, check_task

DEFAULT_TIMEOUT_S = 60.0
"""How long a call waits for another program's lock."""


class Store:
    """One results file with its spool.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = Store(Path(folder) / "results.duckdb")
    ...     store.create()
    ...     store.score_rows()
    []
    """

    def __init__(self, path: str | Path, *, timeout_s: float | None = None) -> None:
        """Name the file; it is opened, created and migrated when something is asked of it."""
        self.path = real_path(Path(path))
        self._spool = Spool(self.path)
        self._timeout_s = DEFAULT_TIMEOUT_S if timeout_s is None else timeout_s
        self._known_facts: set[str] = set()

    def create(self) -> None:
        """Create the file, or bring it to the newest schema; nothing happens where that is done."""
        with writing(self.path, timeout_s=self._timeout_s):
            pass

    def open_run(self, run: RunRecord, checkpoint: CheckpointRecord, task: TaskRecord) -> frozenset[int]:
        """Register a run with its checkpoint and task, and return the items that are already durable.

        Doing so again changes nothing; what is known of the checkpoint may grow or be corrected.

        Raises:
            InputError: the task has an empty choice or another defect; the records do not belong together.
            StoreError: the file or its spool cannot be written.
        """
        if run.checkpoint_id != checkpoint.checkpoint_id or run.task_id != task.task_id:
            raise InputError(f"run {run.run_id} belongs to another checkpoint or task", expected="records of one run")
        if not self.path.exists():
            self.create()
        with stored(self.path, timeout_s=self._timeout_s) as connection:
            # Under the lock no file can leave the spool, so an item is seen there or in the tables.
            durable = stored_items(connection, run.run_id) | self._spool.items(run.run_id)
            task_known = is_stored(connection, "task", task.task_id) or self._spool.has("task", task.task_id)
            run_known = is_stored(connection, "run", run.run_id) or self._spool.has("run", run.run_id)
        if not task_known:
            check_task(task)
        self._register_checkpoint(checkpoint)
        if not task_known:
            self._spool.write("task", task.task_id, arrow_tables.task_table(task))
        if not run_known:
            self._spool.write("run", run.run_id, arrow_tables.run_table(run))
        return durable

    def _register_checkpoint(self, checkpoint: CheckpointRecord) -> None:
        table = arrow_tables.checkpoint_table(checkpoint, registered_at=time.time_ns())
        facts = str(table.column("facts_hash")[0])
        if facts not in self._known_facts:
            self._spool.write("checkpoint", checkpoint.checkpoint_id, table)
            self._known_facts.add(facts)

    def append(self, shard: ScoredShard) -> None:
        """Store the results of some items; they are durable when this returns.

        Raises:
            InputError: a loglikelihood is not a finite number, or columns differ in length.
            StoreError: disk full or folder not writable; what was stored before is safe.
        """
        check_shard(shard)
        if shard.item_idx:
            self._spool.write("shard", shard.run_id, arrow_tables.shard_table(shard))

    def close_run(self, run_id: str, status: RunStatus, counters: RunCounters | None, error: str = "") -> None:
        """Record that a session on a run ended, what it cost, and why it failed if it did. Sessions of a run add up."""
        closed_at = time.time_ns()
        table = arrow_tables.closing_table(
            run_id, status, counters, error, closed_at=closed_at, closing_id=f"{closed_at}-{secrets.token_hex(4)}"
        )
        self._spool.write("closing", run_id, table)

    def commit(self) -> int:
        """Take what is spooled into the file, in short transactions, and return the number of item results added.

        Raises:
            StoreError: the file stays locked (the spool keeps everything), is damaged, or a spooled file cannot be read:
                that one is set aside, all others are in.
        """
        rows, damaged = take_in(self.path, self._spool, timeout_s=self._timeout_s)
        if damaged:
            aside = [self._spool.set_aside(entry.file) for entry in damaged]
            raise StoreError(
                f"{len(aside)} spooled files cannot be read ({damaged[0].reason})",
                remedy=f"they are set aside as {aside[0].name} and so on; run the same evaluation again to compute those items",
            )
        return rows

    def score_rows(self, run_ids: Sequence[str] | None = None) -> list[dict[str, object]]:
        """Return the rows of the view `scores` (all, or those of some runs), finished spooled shards included."""
        with reading(self.path, self._spool, timeout_s=self._timeout_s) as connection:
            wanted = "" if run_ids is None else "WHERE run_id IN (SELECT unnest($runs::VARCHAR[]))"
            parameters = {} if run_ids is None else {"runs": list(run_ids)}
            connection.execute(
                f"FROM scores {wanted} ORDER BY family, flops, model, step, task, num_fewshot, run_id", parameters
            )
            return rows_of(connection)

    def rows(self, query: NamedQuery, **parameters: object) -> list[dict[str, Any]]:
        """Return the answer to one of the program's own questions (`named_queries`), finished spooled results included."""
        with reading(self.path, self._spool, timeout_s=self._timeout_s) as connection:
            connection.execute(query.sql, parameters)
            return rows_of(connection)

    def check_readable(self) -> None:
        """Check that this is a results file that can be read.

        Raises:
            StoreError: it is missing, damaged, of another program or of a newer one.
        """
        with reading(self.path, self._spool, timeout_s=self._timeout_s):
            pass

    def query(self, sql: str, *, read: Sequence[Path] = (), as_text: bool = False) -> Iterator[pa.RecordBatch]:
        """Run one read-only query over everything finished and stream its result. It can write nothing.

        Args:
            sql: one query, or several statements of which the last one's result counts.
            read: files, and folders with all that is in them, that the query may read besides the results file.
            as_text: columns of dates, intervals, bytes and other types that JSON and CSV do not have come as text.

        Raises:
            UsageError: the query is not a query, or is wrong; the message holds DuckDB's own and the nearest name.
            StoreError: the file is damaged, or the answer does not fit into memory.
        """
        with reading(self.path, self._spool, timeout_s=self._timeout_s) as connection:
            queries.seal(connection, read)
            yield from queries.stream(connection, self.path, sql, as_text=as_text)

    def lookup(self, sql: str) -> list[dict[str, Any]]:
        """Return the rows of a program's own question about records, which no metric enters: quicker than `query`.

        It sees what `01_records.sql` and the tables below it hold, finished spooled shards included.

        Raises:
            StoreError: there is no results file, or it is damaged.
        """
        with reading(self.path, self._spool, timeout_s=self._timeout_s, records_only=True) as connection:
            connection.execute(sql)
            return rows_of(connection)

    def execute(self, sql: str, *, as_text: bool = False) -> Iterator[pa.RecordBatch]:
        """Run statements that may change the file, all of them or none, and stream the last one's result.

        What is spooled is taken in first. Views are derived: change the tables behind them.

        Raises:
            UsageError: a statement is wrong; nothing has changed.
        """
        if self.path.exists():
            self.commit()
        with writing(self.path, timeout_s=self._timeout_s) as connection:
            yield from queries.stream(connection, self.path, sql, write=True, as_text=as_text)

    def ladders(
        self,
        *,
        tasks: Sequence[str] | None = None,
        families: Sequence[str] | None = None,
        num_fewshot: int | None = None,
        choose_shots: ShotsRule | None = None,
        dtype: str | None = None,
        with_items: bool = False,
        notice: Notice | None = None,
    ) -> list[Ladder]:
        """Return what laws are fitted on: one ladder per family and task, never mixing definitions.

        Where a family's checkpoints were measured on a task by several definitions, the one with the most checkpoints
        is taken and a notice says so; several numbers of shots are an error unless `num_fewshot` or the rule `choose_shots`
        decides. Whatever is passed to `notice` is kept in the ladder's notes as well.

        Raises:
            UsageError: an unknown task or family, or an ambiguity, naming the option that decides.
        """
        question = LadderQuery(
            tasks=tasks,
            families=families,
            num_fewshot=num_fewshot,
            choose_shots=choose_shots,
            dtype=dtype,
            with_items=with_items,
        )
        found = [entry.ladder for entry in self.chosen_ladders(question)]
        if notice is not None:
            for note in (note for ladder in found for note in ladder.notes):
                notice(note)
        return found

    def chosen_ladders(self, question: LadderQuery) -> list[ChosenLadder]:
        """As `ladders`, with the rows that each ladder was made of."""
        with reading(self.path, self._spool, timeout_s=self._timeout_s) as connection:
            return read_ladders(connection, question)

    def runs(self) -> list[StoredRun]:
        """Return every complete run."""
        with reading(self.path, self._spool, timeout_s=self._timeout_s) as connection:
            return read_runs(connection)

    def model_items(self, runs: Sequence[StoredRun]) -> list[ModelItems]:
        """Return the items of some runs, in the order of the runs."""
        with reading(self.path, self._spool, timeout_s=self._timeout_s) as connection:
            return read_model_items(connection, runs)

    def stored_tasks(self) -> list[StoredTask]:
        """Return which families were measured on which tasks, and with how many shots."""
        with reading(self.path, self._spool, timeout_s=self._timeout_s) as connection:
            return read_stored_tasks(connection)

    def add_observations(self, rows: Sequence[ObservationRow], *, source: str = "", commit: bool = True) -> int:
        """Store measurements that have no items; return how many there are. Storing them again changes nothing.

        `source` names where they came from (default: each row's own); of two statements of one source about the same
        checkpoint and task, the later counts. Without `commit` they are durable, but wait in the spool.
        """
        if rows:
            batch = time.time_ns()
            table = arrow_tables.observation_table(rows, source=source, batch=batch)
            self._spool.write("observations", content_hash([source, batch]), table)
            if commit:
                self.commit()
        return len(rows)

    def importing(self) -> Import:
        """Return a context that collects what belongs together and stores all of it or nothing."""
        return Import(self.path, timeout_s=self._timeout_s)

    def info(self) -> StoreInfo:
        """Return counts and sizes, spooled results included."""
        files = self._spool.files()
        with reading(self.path, self._spool, timeout_s=self._timeout_s) as connection:
            size = sum(file.size_bytes for file in files)
            return maintenance.describe(connection, self.path, spooled_files=len(files), spooled_bytes=size)

    def problems(self) -> list[str]:
        """Return one sentence per kind of damage (hashes, orphans, NaN, missing items, spool); none where all is well."""
        with overlaid(self.path, self._spool, timeout_s=self._timeout_s) as (connection, unseen):
            return [*maintenance.find_problems(connection), *maintenance.spool_problems(unseen, self._spool.set_aside_files())]

    def compact(self) -> tuple[int, int]:
        """Take in what is spooled and rewrite the file without gaps; return its size before and after, in bytes."""
        check_readable(self.path)
        self.commit()
        return maintenance.compact(self.path, timeout_s=self._timeout_s)

    def export(self, folder: Path) -> list[Path]:
        """Write the whole store as Parquet files, results partitioned by family and task; return the files."""
        with reading(self.path, self._spool, timeout_s=self._timeout_s) as connection:
            return transfer.write_export(connection, folder)

    def merge(self, folder: Path) -> int:
        """Take an export in, all of it or nothing, nothing twice; return the item results added."""
        with writing(self.path, timeout_s=self._timeout_s) as connection:
            return transfer.read_export(connection, folder)

    def save_forecast(self, forecast: Forecast, *, data_hash: str, code_version: str) -> str:
        """Store a forecast and return its id, a hash of what it says and what it was fitted on."""
        table = conclusions.forecast_table(forecast, data_hash=data_hash, code_version=code_version)
        forecast_id = str(table.column("forecast_id")[0])
        self._spool.write("forecast", forecast_id, table)
        self.commit()
        return forecast_id

    def forecasts(self) -> list[dict[str, object]]:
        """Return all stored forecasts, oldest first, with the truth where it has been measured since."""
        with reading(self.path, self._spool, timeout_s=self._timeout_s) as connection:
            connection.execute("FROM forecasts ORDER BY created_at, forecast_id")
            return rows_of(connection)

    def save_fit(
        self, *, law: str, family: str, task: str, status: str, data_hash: str, code_version: str, payload: Mapping[str, object]
    ) -> str:
        """Store a fitted law (`payload`: all of it, JSON-serialisable) and return its id, a hash of its content."""
        table = conclusions.fit_table(
            law=law, family=family, task=task, status=status, data_hash=data_hash, code_version=code_version, payload=payload
        )
        fit_id = str(table.column("fit_id")[0])
        self._spool.write("fit", fit_id, table)
        self.commit()
        return fit_id

    def fits(self) -> list[dict[str, object]]:
        """Return all stored fits, oldest first; `payload` is what was stored, as JSON."""
        with reading(self.path, self._spool, timeout_s=self._timeout_s) as connection:
            connection.execute("FROM fits ORDER BY created_at, fit_id")
            return rows_of(connection)
