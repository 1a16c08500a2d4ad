"""The two ways to have the file open: to take in what is spooled, and to read the file together with what is spooled."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from forecast.core.errors import StoreError
from forecast.store import schema
from forecast.store.ingest import Damaged, Ingested, ingest, undecodable
from forecast.store.locking import attached, explain, quote_name
from forecast.store.spool import Spool, SpoolFile

_LOG = logging.getLogger(__name__)

_FILES_PER_TRANSACTION = 512
_BYTES_PER_TRANSACTION = 256 << 20


@contextmanager
def writing(path: Path, *, timeout_s: float) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a connection that may change the file, at the newest schema; nobody else has it open meanwhile."""
    if not path.parent.is_dir():
        raise StoreError(f"no folder {path.parent} for the results file", remedy="create it, or name another `db=`")
    try:
        with attached(path, read_only=False, timeout_s=timeout_s) as connection:
            schema.migrate(connection, path)
            connection.execute("USE store")
            yield connection
    except (duckdb.Error, OSError) as error:
        raise explain(error, path) from error


@contextmanager
def stored(path: Path, *, timeout_s: float) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a connection that reads the file as it is, brought to the newest schema: its tables are `store.NAME`."""
    check_readable(path)
    with attached(path, read_only=True, timeout_s=timeout_s) as connection:
        current = schema.stored_version(connection, path) == schema.newest_version()
        if current:
            yield connection
    if not current:
        with writing(path, timeout_s=timeout_s):
            pass
        with attached(path, read_only=True, timeout_s=timeout_s) as connection:
            yield connection


def check_readable(path: Path) -> None:
    """Check what can be known of a results file before it is opened.

    Raises:
        StoreError: there is none, or something else bears its name.
    """
    remedy = "run `forecast eval` or `forecast import` first, or name another `db=`"
    if path.is_file():
        if path.stat().st_size == 0:
            raise StoreError(
                f"{path} is empty", expected="a results file", remedy="delete it, or try again if it is just being created"
            )
        return
    if path.is_dir():
        raise StoreError(f"{path} is a folder", expected="a results file", remedy=remedy)
    if path.exists():
        raise StoreError(f"{path} is not a regular file", expected="a results file", remedy=remedy)
    raise StoreError(f"no results file {path}", remedy=remedy)


@dataclass(frozen=True, kw_only=True)
class Unseen:
    """What lies in the spool and cannot be shown."""

    damaged: tuple[Damaged, ...]
    """Files that cannot be read."""
    orphans: tuple[SpoolFile, ...]
    """Results of a run that nobody registered."""


@contextmanager
def reading(path: Path, spool: Spool, *, timeout_s: float, records_only: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a connection whose tables and views are the file's and the finished shards' beside it; changes go nowhere.

    What cannot be read in the spool is missing from every answer, so it is said. `records_only` as in `overlaid`.
    """
    with overlaid(path, spool, timeout_s=timeout_s, records_only=records_only) as (connection, unseen):
        if unseen.damaged:
            first = unseen.damaged[0].file.path
            _LOG.warning(
                "%d files in %s cannot be read (%s): results that they hold are missing here; see `forecast db check`",
                len(unseen.damaged),
                spool.folder,
                first.name,
            )
        yield connection


@contextmanager
def overlaid(
    path: Path, spool: Spool, *, timeout_s: float, records_only: bool = False
) -> Iterator[tuple[duckdb.DuckDBPyConnection, Unseen]]:
    """Yield what `reading` yields, and what of the spool it cannot show.

    With `records_only` there are no metrics and none of a user's own tables: DuckDB takes 0.1 s to bind the views of metrics,
    and an evaluation asks many small questions about records.
    """
    check_readable(path)
    try:
        with attached(path, read_only=True, timeout_s=timeout_s) as connection:
            yield connection, _overlay(connection, path, spool, records_only=records_only)
    except duckdb.Error as error:
        raise explain(error, path) from error


def stored_items(connection: duckdb.DuckDBPyConnection, run_id: str) -> frozenset[int]:
    """Return the items of a run that are in the file."""
    rows = connection.execute(
        "SELECT item_idx FROM store.item_results WHERE run_key = (SELECT run_key FROM store.run_records WHERE run_id = ?)",
        [run_id],
    ).fetchnumpy()
    return frozenset(rows["item_idx"].tolist())


def is_stored(connection: duckdb.DuckDBPyConnection, kind: str, owner: str) -> bool:
    """Tell whether the file holds a `task` or `run` of this id."""
    return connection.execute(f"SELECT 1 FROM store.{kind}_records WHERE {kind}_id = ?", [owner]).fetchone() is not None


def _overlay(connection: duckdb.DuckDBPyConnection, path: Path, spool: Spool, *, records_only: bool) -> Unseen:
    """Show every table under its own name in memory, with what is spooled beside what is stored.

    The names that users can rely on are in the schema `main`, the steps behind them in `internal`, which is searched next.
    Views are this program's own, and what an older file lacks is added in memory: an archive need not be writable. Files
    leave the spool only while their writer holds the lock, so none can vanish as long as we hold ours.
    """
    files = spool.files()
    version = schema.stored_version(connection, path)
    connection.execute("CREATE SCHEMA internal")
    beside = bool(files) or version < schema.newest_version()
    if beside:
        connection.execute("CREATE SCHEMA delta; SET search_path = 'delta'")
        connection.execute("\n".join(file.read_text(encoding="utf-8") for _, file in schema.migration_files()))
    connection.execute("SET search_path = 'main,internal'")
    in_file = _names_in_file(connection)
    for table in schema.BASE_TABLES:
        sources = [f"store.{table}"] if table in in_file else []
        sources += [f"delta.{table}"] if beside else []
        view = f"CREATE OR REPLACE VIEW {table} AS FROM " + " UNION ALL BY NAME FROM ".join(sources)
        connection.execute(_at_home(view))
    connection.execute(_at_home(schema.view_statements(records_only=records_only)))
    if not records_only:
        _show_other_tables(connection, in_file)
    damaged, taken = [], []
    if files:
        result = _ingest_readable(connection, files)
        damaged, taken = list(result.damaged), list(result.done)
    seen = {file.path for file in (*taken, *(entry.file for entry in damaged))}
    return Unseen(damaged=tuple(damaged), orphans=tuple(file for file in files if file.path not in seen))


def _at_home(statements: str) -> str:
    """Name the schema of every view that the statements create."""

    def home(match: re.Match[str]) -> str:
        return f"{match[1]}{'main' if match[2] in schema.PUBLIC_NAMES else 'internal'}.{match[2]}"

    return re.sub(r"(CREATE OR REPLACE VIEW )(\w+)", home, statements)


def _names_in_file(connection: duckdb.DuckDBPyConnection) -> set[str]:
    here = "database_name = 'store' AND schema_name = 'main' AND NOT internal"
    rows = connection.execute(
        f"SELECT table_name FROM duckdb_tables() WHERE {here} UNION ALL SELECT view_name FROM duckdb_views() WHERE {here}"
    ).fetchall()
    return {str(name) for (name,) in rows}


def _show_other_tables(connection: duckdb.DuckDBPyConnection, in_file: set[str]) -> None:
    """Show what a user created in the file beside our own tables and views."""
    own = "SELECT view_name FROM duckdb_views() WHERE database_name = 'memory' AND NOT internal"
    for name in sorted(in_file - {str(row[0]) for row in connection.execute(own).fetchall()}):
        home = "internal" if name == schema.LEDGER else "main"
        identifier = quote_name(name)
        connection.execute(f"CREATE VIEW {home}.{identifier} AS FROM store.main.{identifier}")


def _ingest_readable(connection: duckdb.DuckDBPyConnection, files: Sequence[SpoolFile]) -> Ingested:
    """Show spooled files; one that is broken inside, which only reading it tells, keeps none of the others away."""
    try:
        return ingest(connection, files, "delta")
    except duckdb.Error:
        broken = undecodable(files)
        if not broken:
            raise
        lost = {entry.file.path for entry in broken}
        result = ingest(connection, [file for file in files if file.path not in lost], "delta")
        return replace(result, damaged=(*result.damaged, *broken))


def take_in(path: Path, spool: Spool, *, timeout_s: float) -> tuple[int, list[Damaged]]:
    """Ingest the spool in short transactions; return the item results added and the files that cannot be read."""
    rows = 0
    damaged: list[Damaged] = []
    left = spool.files()
    while left:
        batch: list[SpoolFile] = []
        size = 0
        for file in left[:_FILES_PER_TRANSACTION]:
            if batch and size + file.size_bytes > _BYTES_PER_TRANSACTION:
                break
            batch.append(file)
            size += file.size_bytes
        left = left[len(batch) :]
        with writing(path, timeout_s=timeout_s) as connection:
            # Another coordinator may have taken files in while we waited for the lock.
            present = [file for file in batch if file.path.exists()]
            result = _ingest_committed(connection, present)
            # Still under the lock: readers must never see a file vanish, nor its rows twice.
            spool.remove(result.done)
        rows += result.rows
        damaged += result.damaged
    return rows, damaged


def _ingest_committed(connection: duckdb.DuckDBPyConnection, files: Sequence[SpoolFile]) -> Ingested:
    """Take files in within one transaction, without those that turn out to be broken inside."""
    try:
        connection.execute("BEGIN")
        result = ingest(connection, files, "store.main")
        connection.execute("COMMIT")
    except duckdb.Error:
        with suppress(duckdb.Error):
            connection.execute("ROLLBACK")
        broken = undecodable(files)
        if not broken:
            raise
        lost = {entry.file.path for entry in broken}
        result = _ingest_committed(connection, [file for file in files if file.path not in lost])
        return replace(result, damaged=(*result.damaged, *broken))
    return result
