"""Results of any size on stdout or in a file, batch by batch: CSV, JSON, Parquet, and a table for reading."""

from __future__ import annotations

import csv
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO

from forecast.core.errors import StoreError, UsageError
from forecast.core.plain_json import to_plain
from forecast.core.printable import printable
from forecast.core.whole_files import replacing

if TYPE_CHECKING:
    import pyarrow as pa

_LOG = logging.getLogger(__name__)

FORMATS = ("table", "csv", "json", "parquet")
TABLE_ROWS = 200
"""A table for reading stops here and says so; the other formats hold everything."""

_CELL_CHARS = 60


def write_batches(batches: Iterator[pa.RecordBatch], *, form: str, output: Path | None, max_rows: int = TABLE_ROWS) -> None:
    """Write record batches in one of `FORMATS` to a file, or to stdout.

    Raises:
        UsageError: unknown format, or Parquet onto a terminal.
    """
    if form not in FORMATS:
        raise UsageError(f"{form!r} is not a format", expected="one of " + ", ".join(FORMATS))
    if form == "parquet" and output is None and sys.stdout.isatty():
        raise UsageError("Parquet is not text that a terminal can show", remedy="add --output FILE, or redirect stdout")
    # The first batch is made before the file is opened: a wrong query leaves no empty file behind.
    first = next(batches, None)
    if first is None:
        return
    whole = _chain(first, batches)
    with _opened(output) as stream:
        if form == "parquet":
            _write_parquet(whole, first, stream)
            return
        with _text(stream) as text:
            if form == "csv":
                _write_csv(whole, first.schema.names, text)
            elif form == "json":
                _write_json(whole, text)
            else:
                _write_table(whole, first.schema.names, text, max_rows)


def _chain(first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from rest


@contextmanager
def _opened(output: Path | None) -> Iterator[BinaryIO]:
    """Write a file under a partial name and rename it at the end; stdout is used as it is."""
    try:
        if output is None:
            sys.stdout.flush()
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        else:
            with replacing(output) as partial, partial.open("wb") as stream:
                yield stream
    except BrokenPipeError:
        raise
    except OSError as error:
        name, remedy = ("standard output", "") if output is None else (output, "choose another --output")
        raise StoreError(f"{name} cannot be written: {error.strerror or error}", remedy=remedy) from error


@contextmanager
def _text(stream: BinaryIO) -> Iterator[TextIO]:
    """Write text to a binary stream and leave it open, whatever happens: it may be stdout."""
    import io

    text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=False)
    try:
        yield text
    except BaseException:
        with suppress(OSError):
            text.detach()
        raise
    text.flush()
    text.detach()


def _write_parquet(batches: Iterator[pa.RecordBatch], first: pa.RecordBatch, stream: BinaryIO) -> None:
    import pyarrow.parquet as pq

    with pq.ParquetWriter(stream, first.schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)


def _write_csv(batches: Iterator[pa.RecordBatch], names: Sequence[str], stream: TextIO) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    for batch in batches:
        columns = [column.to_pylist() for column in batch.columns]
        writer.writerows([_csv_cell(cell) for cell in row] for row in zip(*columns, strict=True))


def _csv_cell(value: object) -> object:
    """Floats in full precision, lists as JSON, NULL as nothing."""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, list | dict):
        return _json(value)
    return "" if value is None else _decimal(value)


def _decimal(value: object) -> object:
    """Write decimals, such as whole numbers beyond 64 bits, digit by digit."""
    return f"{value:f}" if isinstance(value, Decimal) else value


def _write_json(batches: Iterator[pa.RecordBatch], stream: TextIO) -> None:
    separator = "[\n  "
    lost = False
    for batch in batches:
        lost = lost or any(_has_no_number(column) for column in batch.columns)
        for row in batch.to_pylist():
            stream.write(separator + _json(row))
            separator = ",\n  "
    stream.write("[]\n" if separator.startswith("[") else "\n]\n")
    if lost:
        _LOG.warning("NaN and infinity are null here: JSON has no such numbers (--format csv keeps them)")


def _json(value: object) -> str:
    """Encode what DuckDB gives; `json` itself would round decimals, or quote them."""
    if isinstance(value, Decimal):
        return str(_decimal(value))
    if isinstance(value, dict):
        return (
            "{" + ", ".join(f"{json.dumps(str(key), ensure_ascii=False)}: {_json(entry)}" for key, entry in value.items()) + "}"
        )
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_json(entry) for entry in value) + "]"
    return json.dumps(to_plain(value), ensure_ascii=False, allow_nan=False)


def _has_no_number(column: pa.Array) -> bool:
    """Tell whether a column holds NaN or an infinity, inside lists and structs, too."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_floating(column.type):
        return pc.all(pc.is_finite(column)).as_py() is False
    if pa.types.is_struct(column.type):
        return any(_has_no_number(field) for field in column.flatten())
    if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
        return _has_no_number(column.flatten())
    return False


def _write_table(batches: Iterator[pa.RecordBatch], names: Sequence[str], stream: TextIO, max_rows: int) -> None:
    rows: list[list[str]] = []
    more = False
    for batch in batches:
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            if len(rows) == max_rows:
                more = True
                break
            rows.append([_table_cell(cell) for cell in row])
        if more:
            break
    names = [printable(name) for name in names]
    widths = [max([len(name), *(len(row[i]) for row in rows)]) for i, name in enumerate(names)]
    stream.write("  ".join(name.ljust(width) for name, width in zip(names, widths, strict=True)).rstrip() + "\n")
    stream.write("  ".join("-" * width for width in widths) + "\n")
    for cells in rows:
        stream.write("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip() + "\n")
    if more:
        from forecast.cli.console import stderr_console

        stderr_console().say(f"first {max_rows} rows; --max-rows shows more, --format csv|json|parquet all")


def _table_cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = printable(_json(value) if isinstance(value, list | dict) else str(_decimal(value)))
    return text if len(text) <= _CELL_CHARS else text[: _CELL_CHARS - 1] + "…"
