"""Questions in SQL: read-only ones are streamed and can write nothing, wrong ones are answered with the nearest name."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from forecast.core.errors import ForecastError, InputError, UsageError
from forecast.core.nearest import did_you_mean
from forecast.store.locking import explain, quote
from forecast.store.text_columns import cast_to_text

BATCH_ROWS = 65_536

_LOG = logging.getLogger(__name__)

_READING = ("SELECT", "EXPLAIN", "PRAGMA", "CALL", "SET")
"""Statements that leave the file as it is; a sealed session lets SET, PRAGMA and CALL change nothing but how it computes."""
_ALONE = ("TRANSACTION", "VACUUM", "ATTACH", "DETACH", "EXPORT", "LOAD")
"""Statements that manage transactions themselves, or cannot run inside one."""

_HARMLESS_SETTINGS = (
    "calendar",
    "default_collation",
    "default_null_order",
    "default_order",
    "explain_output",
    "ieee_floating_point_ops",
    "integer_division",
    "null_order",
    "order_by_non_integer_literal",
    "pivot_limit",
    "preserve_insertion_order",
    "schema",
    "search_path",
    "threads",
    "timezone",
)
"""How an answer is computed or printed; everything else may name a file to write, or undo the seal."""


def seal(connection: duckdb.DuckDBPyConnection, read: Sequence[Path] = ()) -> None:
    """Take from a reading session, for good, every way to reach another file than those named.

    DuckDB itself then refuses to read and write files, to load extensions and to change settings, whatever the statement.
    What is attached stays open.

    Raises:
        InputError: a file or folder to read does not exist.
    """
    for path in read:
        if not path.exists():
            raise InputError(f"there is no {path}", expected="a file or folder that the query may read")
        # Under all of its names: DuckDB before 2.0 compares them as the query writes them, and does not take ".".
        spellings = dict.fromkeys((str(path), str(path.absolute()), str(path.resolve()), os.path.relpath(path)))
        names = ", ".join(quote(name) for name in spellings if name != ".")
        kind = "directories" if path.is_dir() else "paths"
        connection.execute(f"SET allowed_{kind} = list_distinct(current_setting('allowed_{kind}') || [{names}])")
    with suppress(duckdb.CatalogException):
        # DuckDB before 2.0 does not know it: there all settings are locked.
        connection.execute(f"SET allowed_configs = [{', '.join(quote(name) for name in _HARMLESS_SETTINGS)}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def stream(
    connection: duckdb.DuckDBPyConnection, path: Path, sql: str, *, write: bool = False, as_text: bool = False
) -> Iterator[pa.RecordBatch]:
    """Run the statements of `sql` and yield the last one's result in batches; with `write` all of them or none.

    Raises:
        UsageError: empty, more than reading without `write`, or wrong.
        StoreError: the results file at `path` is damaged, or there is not enough memory or disk.
    """
    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise explain_query(connection, path, error) from error
    if not statements:
        raise UsageError("the query is empty", expected="one SQL statement", remedy="see `forecast sql --examples`")
    if not write:
        for statement in statements:
            _check_reading(connection, statement)
    together = write and not any(_kind(statement) in _ALONE for statement in statements)
    try:
        if together:
            connection.execute("BEGIN")
        for statement in statements[:-1]:
            connection.execute(statement).fetchall()
        yield from _batches(connection, _public_only(statements[-1].query, write=write), as_text=as_text)
        if together:
            connection.execute("COMMIT")
    except duckdb.Error as error:
        if together:
            with suppress(duckdb.Error):
                connection.execute("ROLLBACK")
        raise explain_query(connection, path, error) from error


def _kind(statement: duckdb.Statement) -> str:
    try:
        return str(statement.type.name)
    except ValueError:  # DuckDB's Python module lacks names for some kinds that its parser knows, such as UPDATE EXTENSIONS.
        return str(statement.query.split(maxsplit=1)[0].upper())


def _check_reading(connection: duckdb.DuckDBPyConnection, statement: duckdb.Statement) -> None:
    kind = _kind(statement)
    pivot = kind == "MULTI" and re.match(r"\s*(\(\s*)?pivot", statement.query, re.IGNORECASE)
    if re.search(r"\benable_logging\b", statement.query, re.IGNORECASE):
        # DuckDB before 2.0 starts it although its settings are locked, and dies of it when it may not write its files.
        raise UsageError("enable_logging writes files", expected="a query that reads")
    if kind == "EXPLAIN":
        kind = _explained(connection, statement.query)
    if kind not in _READING and not pivot:
        raise UsageError(
            f"{kind} changes something, and queries are read-only",
            expected="SELECT, FROM, DESCRIBE, SHOW, SUMMARIZE, EXPLAIN",
            remedy="pass `write=` to change the results file",
        )


_BLANK = r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)*"
_EXPLAIN = re.compile(rf"{_BLANK}explain\b(?P<rest>{_BLANK}(?:(?:analyze|verbose)\b|\([^()]*\))?{_BLANK})", re.I | re.S)


def _explained(connection: duckdb.DuckDBPyConnection, query: str) -> str:
    """Return the kind of the statement that is explained: ANALYZE runs it, and may write to files that DuckDB has open."""
    match = _EXPLAIN.match(query)
    kinds = []
    # `EXPLAIN (SELECT 1)` and `EXPLAIN (FORMAT json) SELECT 1` look alike until they are parsed.
    for start in (match.start("rest"), match.end("rest")) if match else ():
        with suppress(duckdb.Error):
            kinds += [_kind(inner) for inner in connection.extract_statements(query[start:])]
    return next((kind for kind in kinds if kind != "SELECT"), "SELECT" if kinds else "EXPLAIN of another statement")


def _public_only(query: str, *, write: bool) -> str:
    """Let SHOW TABLES list what users can rely on; `SHOW ALL TABLES` shows the steps behind it, too."""
    asked = re.fullmatch(rf"{_BLANK}show{_BLANK}tables{_BLANK};?{_BLANK}", query, re.I | re.S)
    return "SHOW TABLES FROM memory.main" if asked and not write else query


def _batches(connection: duckdb.DuckDBPyConnection, query: str, *, as_text: bool) -> Iterator[pa.RecordBatch]:
    relation = connection.sql(query)
    if relation is None:
        return
    names = _distinct([str(name) for name in relation.columns])
    if as_text:
        relation = cast_to_text(relation)
    # DuckDB 1.4 knows the method only by its former name.
    open_reader = getattr(relation, "to_arrow_reader", None) or relation.fetch_record_batch
    empty = True
    with ThreadPoolExecutor(1) as worker:
        reader = _wait(connection, worker.submit(open_reader, BATCH_ROWS))
        while True:
            try:
                batch = _wait(connection, worker.submit(next, reader, None))
            except (OSError, pa.ArrowException) as error:
                # An error after the first batch comes by way of Arrow, with DuckDB's words.
                raise duckdb.Error(str(error)) from error
            if batch is None:
                break
            empty = False
            yield batch.rename_columns(names)
    if empty:
        # From no Python list: making an array of one imports pandas.
        columns = [pa.nulls(0, kind) for kind in reader.schema.types]
        yield pa.RecordBatch.from_arrays(columns, schema=reader.schema).rename_columns(names)


def _wait(connection: duckdb.DuckDBPyConnection, future: Future[Any]) -> Any:
    """Return a result that another thread computes, so that Ctrl-C is heard here while DuckDB is at work."""
    try:
        return future.result()
    except KeyboardInterrupt:
        connection.interrupt()
        raise


def _distinct(names: list[str]) -> list[str]:
    """Number columns of one name as DuckDB does where it makes a table of them, and say so.

    >>> _distinct(["a", "b", "a_1"])
    ['a', 'b', 'a_1']
    """
    written = {name.lower() for name in names}
    if len(written) == len(names):
        return names
    used: set[str] = set()
    distinct = []
    for name in names:
        fresh, number = name, 0
        while fresh.lower() in used or (number and fresh.lower() in written):
            number += 1
            fresh = f"{name}_{number}"
        used.add(fresh.lower())
        distinct.append(fresh)
    renamed = ", ".join(f"{name} as {fresh}" for name, fresh in zip(names, distinct, strict=True) if name != fresh)
    _LOG.warning("several columns have the same name; told apart by a number: %s", renamed)
    return distinct


_NOT_THE_QUERY = re.compile(r"^(IO|INTERNAL|FATAL|Out of Memory|Serialization|Connection|HTTP) Error|Corrupt database", re.I)
_SEALED = re.compile(r"disabled by configuration|disabled through configuration")
_LOCKED = re.compile(r"configuration has been locked")


def explain_query(connection: duckdb.DuckDBPyConnection, path: Path, error: duckdb.Error) -> ForecastError:
    """Turn DuckDB's message into one line, with the nearest table or column where a name is wrong."""
    text = str(error)
    if "INTERRUPT" in text:
        raise KeyboardInterrupt
    lines = [line for line in text.split("\n\n")[0].splitlines() if line and not line.startswith("Did you mean")]
    message = " ".join(" ".join(lines).split())
    if _SEALED.search(text):
        return UsageError(
            message,
            expected="a query that reads only the results file",
            remedy="name what else the query may read with `read=` PATH",
        )
    if _LOCKED.search(text):
        return UsageError(message, expected="a setting of how answers look")
    if _NOT_THE_QUERY.search(message):
        return explain(error, path)
    return UsageError(message, remedy=_nearest(connection, text))


_UNKNOWN_TABLE = re.compile(r"Table with name \"?(\w+)\"? does not exist|Referenced table \"?(\w+)\"? not found")
_UNKNOWN_COLUMN = re.compile(r"[Cc]olumn \"?(\w+)\"? (?:not found|does not exist)|does not have a column named \"?(\w+)\"?")


def _nearest(connection: duckdb.DuckDBPyConnection, text: str) -> str:
    here = "WHERE table_catalog = current_database() AND table_schema = 'main'"
    for pattern, sql in (
        (_UNKNOWN_TABLE, f"SELECT DISTINCT table_name FROM information_schema.tables {here}"),
        (_UNKNOWN_COLUMN, f"SELECT DISTINCT column_name FROM information_schema.columns {here}"),
    ):
        match = pattern.search(text)
        if not match:
            continue
        wrong = next(group for group in match.groups() if group)
        known = sorted(str(row[0]) for row in connection.execute(sql).fetchall())
        where = '`forecast sql "SHOW TABLES"` lists the tables, `forecast sql "DESCRIBE scores"` a table\'s columns'
        return did_you_mean(wrong, known, count=3, cutoff=0.5) or where
    return ""
