"""Short connections to the results file: one writer or many readers, never both, so everybody opens late and retries.

DuckDB locks the file as long as it is open. Nobody here keeps it open between calls, and whoever meets a lock waits a
little and tries again.
"""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb

from forecast.core.errors import StoreError

STORAGE_VERSION = "v1.4.0"
"""Oldest DuckDB whose clients shall be able to open the file; they could not read the default format of later versions."""

MEMORY_LIMIT = "1600MiB"
"""Limit on DuckDB's buffers; with its other allocations the process stays under 2 GiB. Anything more is spilled to disk."""

_LOG = logging.getLogger(__name__)
"""Logger that reports waiting: without another handler, Python shows warnings on stderr."""

_SILENT_WAIT_S = 2.0
"""Shards are taken in within a second or two; whoever waits longer wants to know for whom."""
_FIRST_PAUSE_S = 0.005
_LONGEST_PAUSE_S = 0.25


def quote(text: str) -> str:
    """Return a SQL string literal.

    >>> quote("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def quote_name(name: str) -> str:
    """Return a SQL identifier.

    >>> quote_name('a "b" c')
    '"a ""b"" c"'
    """
    return '"' + name.replace('"', '""') + '"'


def rows_of(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Return the rows of the last statement, by column name."""
    names = [str(column[0]) for column in connection.description or []]
    return [dict(zip(names, row, strict=True)) for row in connection.fetchall()]


def open_memory(temporary: Path | None = None) -> duckdb.DuckDBPyConnection:
    """Open an empty in-memory DuckDB with our limits; what does not fit is spilled into `temporary`."""
    connection = duckdb.connect(":memory:")
    connection.execute(f"SET memory_limit = '{MEMORY_LIMIT}'")
    connection.execute("SET preserve_insertion_order = false")
    connection.execute("SET autoinstall_known_extensions = false")
    # A table that does not exist must not be found among Python's variables.
    connection.execute("SET python_enable_replacements = false")
    if temporary is not None:
        connection.execute(f"SET temp_directory = {quote(str(temporary))}")
    return connection


@contextmanager
def attached(path: Path, *, read_only: bool, timeout_s: float) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield an in-memory connection with the file attached as `store`; the lock is held until the block ends.

    Raises:
        StoreError: the file stays locked for `timeout_s` seconds, is not a DuckDB file, or cannot be opened.
    """
    connection = open_memory(path.parent / f"{path.name}.tmp")
    try:
        _attach(connection, path, read_only=read_only, timeout_s=timeout_s)
        yield connection
    except RuntimeError as error:
        if "interrupted" in str(error).lower():
            # This is what DuckDB makes of Ctrl-C.
            raise KeyboardInterrupt from None
        raise
    finally:
        # Detaching writes the log back into the file, so that other clients find one complete file.
        with suppress(duckdb.Error):
            connection.execute("USE memory")
            connection.execute("DETACH store")
        connection.close()


def _attach(connection: duckdb.DuckDBPyConnection, path: Path, *, read_only: bool, timeout_s: float) -> None:
    option = "READ_ONLY" if read_only else f"STORAGE_VERSION '{STORAGE_VERSION}'"
    started = time.monotonic()
    deadline = started + timeout_s
    told = False
    pause = _FIRST_PAUSE_S
    while True:
        try:
            # By type: DuckDB would take a CSV for a database in memory, and forget what is written to it.
            connection.execute(f"ATTACH {quote(str(path))} AS store (TYPE duckdb, {option})")
        except duckdb.Error as error:
            if not is_locked(error) or time.monotonic() >= deadline:
                raise explain(error, path) from error
            if not told and time.monotonic() - started >= _SILENT_WAIT_S:
                told = True
                _LOG.warning(
                    "%s is held open by %s; waiting up to %.0f s more for it (Ctrl-C stops waiting, nothing is lost)",
                    path,
                    _holder(str(error)),
                    deadline - time.monotonic(),
                )
        else:
            return
        time.sleep(min(pause * random.uniform(0.5, 1.5), max(deadline - time.monotonic(), 0.001)))
        pause = min(2 * pause, _LONGEST_PAUSE_S)


def is_locked(error: duckdb.Error) -> bool:
    """Tell whether somebody else has the file open."""
    text = str(error)
    return "Could not set lock" in text or "file handle conflict" in text


def _holder(text: str) -> str:
    """Name who has the file open, from DuckDB's message."""
    process = re.search(r"\(PID (\d+)\)", text)
    return f"process {process.group(1)}" if process else "another part of this process"


_DAMAGE = ("could not read enough bytes", "corrupt", "checksum", "failed to deserialize", "serialization error")
"""What DuckDB says of a file whose blocks are not what it wrote."""


def explain(error: BaseException, path: Path) -> StoreError:
    """Turn DuckDB's or the system's failure on the results file into one line with a remedy."""
    text = str(error)
    first = " ".join(text.splitlines()[0].split()) if text else type(error).__name__
    if isinstance(error, duckdb.Error) and is_locked(error):
        return StoreError(
            f"{path} is held open by {_holder(text)}",
            expected="the file to be free for a moment",
            remedy="close that program; finished results are safe next to the file, and the next command adds them",
        )
    lowered = text.lower()
    if "no space left" in lowered or "disk quota" in lowered:
        return StoreError(
            f"no space left for {path}",
            remedy="free some space and run the same command again; what was finished is kept",
        )
    if "permission denied" in lowered or "read-only file system" in lowered:
        return StoreError(
            f"{path} cannot be written or opened here: {first}", remedy="choose another `db=` or repair the permissions"
        )
    if "out of memory" in lowered:
        return StoreError(f"not enough memory for this question to {path}: {first}", remedy="ask for less, or aggregate in SQL")
    if any(sign in lowered for sign in _DAMAGE):
        return StoreError(f"{path} is damaged or cut off: {first}", remedy="restore it from a copy")
    if "not a valid duckdb database" in lowered:
        return StoreError(f"{path} is not a DuckDB file", expected="a results file", remedy="choose another `db=`")
    if "version number" in lowered and "read" in lowered:
        return StoreError(f"{path} was written by a newer DuckDB: {first}", remedy="upgrade duckdb")
    if "does not exist" in lowered and "cannot open" in lowered:
        return StoreError(f"no results file {path}", remedy="run `forecast eval` first, or name another `db=`")
    return StoreError(f"{path}: {first}", remedy="run `forecast db check`")
