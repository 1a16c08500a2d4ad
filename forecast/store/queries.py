"""Questions in SQL: read-only ones are streamed, wrong ones are answered with the nearest name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from contextlib import suppress

import duckdb
import pyarrow as pa

from forecast.core.errors import UsageError

BATCH_ROWS = 65_536

_READING = ("SELECT", "EXPLAIN", "PRAGMA", "CALL", "SET")
"""Statements that leave the file as it is; SET only changes how this one session prints or computes."""
_ALONE = ("TRANSACTION", "VACUUM", "ATTACH", "DETACH", "EXPORT", "LOAD")
"""Statements that manage transactions themselves, or cannot stand inside one."""


def stream(connection: duckdb.DuckDBPyConnection, sql: str, *, write: bool = False) -> Iterator[pa.RecordBatch]:
    """Run the statements of `sql` and yield the last one's result in batches; with `write` all of them or none.

    Raises:
        UsageError: empty, more than reading without `write`, or wrong.
    """
    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise explain_query(connection, error) from error
    if not statements:
        raise UsageError("the query is empty", expected="one SQL statement", remedy="see `forecast sql --examples`")
    if not write:
        _check_reading(statements)
    together = write and not any(statement.type.name in _ALONE for statement in statements)
    try:
        if together:
            connection.execute("BEGIN")
        for statement in statements[:-1]:
            connection.execute(statement).fetchall()
        yield from _batches(connection, statements[-1])
        if together:
            connection.execute("COMMIT")
    except duckdb.Error as error:
        if together:
            with suppress(duckdb.Error):
                connection.execute("ROLLBACK")
        raise explain_query(connection, error) from error


def _check_reading(statements: list[duckdb.Statement]) -> None:
    for statement in statements:
        kind = statement.type.name
        pivot = kind == "MULTI" and re.match(r"\s*(\(\s*)?pivot", statement.query, re.IGNORECASE)
        if kind not in _READING and not pivot:
            raise UsageError(
                f"{kind} changes something, and queries are read-only",
                expected="SELECT, FROM, DESCRIBE, SHOW, SUMMARIZE, EXPLAIN",
                remedy="pass --write to change the results file",
            )


def _batches(connection: duckdb.DuckDBPyConnection, statement: duckdb.Statement) -> Iterator[pa.RecordBatch]:
    relation = connection.sql(statement.query)
    if relation is None:
        return
    # DuckDB 1.4 knows the method only by its former name.
    open_reader = getattr(relation, "to_arrow_reader", None) or relation.fetch_record_batch
    reader = open_reader(BATCH_ROWS)
    empty = True
    for batch in reader:
        empty = False
        yield batch
    if empty:
        yield pa.RecordBatch.from_pylist([], schema=reader.schema)


def explain_query(connection: duckdb.DuckDBPyConnection, error: duckdb.Error) -> UsageError:
    """Turn DuckDB's message into one line, with the nearest table or column where a name is wrong."""
    text = str(error)
    lines = [line for line in text.split("\n\n")[0].splitlines() if line and not line.startswith("Did you mean")]
    message = " ".join(" ".join(lines).split())
    return UsageError(message, remedy=_nearest(connection, text))


_UNKNOWN_TABLE = re.compile(r"Table with name \"?(\w+)\"? does not exist|Referenced table \"?(\w+)\"? not found")
_UNKNOWN_COLUMN = re.compile(r"[Cc]olumn \"?(\w+)\"? (?:not found|does not exist)|does not have a column named \"?(\w+)\"?")


def _nearest(connection: duckdb.DuckDBPyConnection, text: str) -> str:
    for pattern, kind, sql in (
        (_UNKNOWN_TABLE, "table", "SELECT DISTINCT table_name FROM information_schema.tables WHERE table_schema = 'main'"),
        (_UNKNOWN_COLUMN, "column", "SELECT DISTINCT column_name FROM information_schema.columns WHERE table_schema = 'main'"),
    ):
        match = pattern.search(text)
        if not match:
            continue
        wrong = next(group for group in match.groups() if group)
        known = sorted(str(row[0]) for row in connection.execute(sql).fetchall())
        close = difflib.get_close_matches(wrong.lower(), known, n=3, cutoff=0.5)
        if close:
            return f"nearest {kind}: {', '.join(close)}"
        return '`forecast sql "SHOW TABLES"` lists the tables, `forecast sql "DESCRIBE scores"` a table\'s columns'
    return ""
