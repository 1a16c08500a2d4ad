"""Reading a table's cells as text: CSV, compressed CSV and Parquet, with the place of every row kept for messages."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from forecast.core.errors import InputError

_MAX_FIELD_BYTES = 1 << 24


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table as text cells; every row has one cell per column."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]
    """Line of each row in the file; row number from 1 for Parquet."""


def is_table(path: Path) -> bool:
    """Tell by its name whether a file is an observation table.

    >>> is_table(Path("runs.csv.gz")), is_table(Path("results.json"))
    (True, False)
    """
    return path.name.lower().endswith((".csv", ".csv.gz", ".parquet"))


def read_table(path: Path) -> Table:
    """Read a CSV, CSV.gz or Parquet file.

    Raises:
        InputError: missing, unreadable, empty, not rectangular, or a column named twice.
    """
    if not path.is_file():
        raise InputError(f"no file {path}", expected="a CSV, CSV.gz or Parquet table", remedy="check the path")
    table = _read_parquet(path) if path.name.lower().endswith(".parquet") else _read_csv(path)
    seen: set[str] = set()
    for name in table.columns:
        if name in seen:
            raise InputError(f"{path}: column '{name}' occurs twice", expected="every column once")
        seen.add(name)
    if not table.rows:
        raise InputError(f"{path} has no rows", expected="a header and at least one row")
    return table


def _read_csv(path: Path) -> Table:
    try:
        raw = path.read_bytes()
        if path.name.lower().endswith(".gz"):
            raw = gzip.decompress(raw)
        text = raw.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {error}", remedy="check or repack the file") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is no UTF-8 text (byte {error.start})", expected="a UTF-8 CSV", remedy="save it as UTF-8"
        ) from error
    if "\0" in text:
        raise InputError(f"{path} holds NUL bytes", expected="a UTF-8 CSV")
    csv.field_size_limit(_MAX_FIELD_BYTES)
    try:
        parsed = list(_numbered_rows(text))
    except csv.Error as error:
        raise InputError(f"{path} is no CSV: {error}", expected="comma-separated values") from error
    if not parsed:
        raise InputError(f"{path} is empty", expected="a header and at least one row")
    columns = tuple(name.strip() for name in parsed[0][1])
    if len(columns) == 1 and any(mark in columns[0] for mark in ";\t|"):
        raise InputError(f"{path}: header {columns[0][:60]!r} has no comma", expected="comma-separated values")
    for line, cells in parsed[1:]:
        if len(cells) != len(columns):
            raise InputError(f"{path}: line {line} has {len(cells)} cells", expected=f"{len(columns)}, as the header has")
    return Table(
        path=path,
        columns=columns,
        rows=tuple(cells for _, cells in parsed[1:]),
        lines=tuple(line for line, _ in parsed[1:]),
    )


def _numbered_rows(text: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    first = 1
    for cells in reader:
        if cells and any(cell.strip() for cell in cells):
            yield first, tuple(cells)
        first = reader.line_num + 1


def _read_parquet(path: Path) -> Table:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(path).read()
    except (OSError, pyarrow.ArrowException) as error:
        line = str(error).splitlines()[0]
        raise InputError(f"{path} cannot be read: {line}", expected="a Parquet file") from error
    columns = [_as_text(table.column(index).to_pylist()) for index in range(table.num_columns)]
    return Table(
        path=path,
        columns=tuple(table.column_names),
        rows=tuple(zip(*columns, strict=True)),
        lines=tuple(range(1, table.num_rows + 1)),
    )


def _as_text(values: list[object]) -> list[str]:
    return ["" if value is None else str(value) for value in values]
