"""The two ways to have the file open: to take in what is spooled, and to read the file together with what is spooled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from forecast.core.errors import StoreError
from forecast.store import schema
from forecast.store.ingest import Damaged, ingest
from forecast.store.locking import attached, explain
from forecast.store.spool import Spool, SpoolFile

_FILES_PER_TRANSACTION = 512
_BYTES_PER_TRANSACTION = 256 << 20


@contextmanager
def writing(path: Path, *, timeout_s: float) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a connection that may change the file, at the newest schema; nobody else has it open meanwhile."""
    if not path.parent.is_dir():
        raise StoreError(f"no folder {path.parent} for the results file", remedy="create it, or name another --db")
    try:
        with attached(path, read_only=False, timeout_s=timeout_s) as connection:
            schema.migrate(connection, path)
            connection.execute("USE store")
            yield connection
    except (duckdb.Error, OSError) as error:
        raise explain(error, path) from error


@contextmanager
def stored(path: Path, *, timeout_s: float) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a connection that reads the file as it is: its tables are `store.NAME`, what is spooled is not seen."""
    if not path.is_file():
        raise StoreError(
            f"no results file {path}", remedy="run `forecast eval` or `forecast import` first, or name another --db"
        )
    with attached(path, read_only=True, timeout_s=timeout_s) as connection:
        # Views may be older than this program: readers make their own anyway, and an archive need not be writable.
        current = schema.stored_version(connection, path) == schema.newest_version()
        if current:
            yield connection
    if not current:
        with writing(path, timeout_s=timeout_s):
            pass
        with attached(path, read_only=True, timeout_s=timeout_s) as connection:
            yield connection


@contextmanager
def reading(path: Path, spool: Spool, *, timeout_s: float) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a connection whose tables and views are the file's and the finished shards' beside it; changes go nowhere."""
    with stored(path, timeout_s=timeout_s) as connection:
        _overlay(connection, spool)
        yield connection


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


def _overlay(connection: duckdb.DuckDBPyConnection, spool: Spool) -> None:
    """Show every table under its own name in memory, with what is spooled beside what is stored.

    Files leave the spool only while their writer holds the lock, so none can vanish as long as we hold ours.
    """
    files = spool.files()
    if files:
        connection.execute("CREATE SCHEMA delta")
    for table in schema.BASE_TABLES:
        more = ""
        if files:
            connection.execute(f"CREATE TABLE delta.{table} AS FROM store.{table} LIMIT 0")
            more = f" UNION ALL FROM delta.{table}"
        connection.execute(f"CREATE VIEW {table} AS FROM store.{table}{more}")
    connection.execute(schema.view_statements())
    _show_other_tables(connection)
    if files:
        ingest(connection, files, "delta")


def _show_other_tables(connection: duckdb.DuckDBPyConnection) -> None:
    """Show what a user created in the file beside our own tables and views."""
    for (name,) in connection.execute(
        """SELECT table_name FROM duckdb_tables() WHERE database_name = 'store'
        UNION ALL SELECT view_name FROM duckdb_views() WHERE database_name = 'store' AND NOT internal
        EXCEPT SELECT view_name FROM duckdb_views() WHERE database_name = 'memory'"""
    ).fetchall():
        identifier = '"' + str(name).replace('"', '""') + '"'
        connection.execute(f"CREATE VIEW {identifier} AS FROM store.main.{identifier}")


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
            connection.execute("BEGIN")
            result = ingest(connection, present, "store.main")
            connection.execute("COMMIT")
            # Still under the lock: readers must never see a file vanish, nor its rows twice.
            spool.remove(result.done)
        rows += result.rows
        damaged += result.damaged
    return rows, damaged
