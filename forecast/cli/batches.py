"""Results of any size on stdout or in a file, batch by batch: CSV, JSON, Parquet, and a table for reading."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from forecast.cli.console import stderr_console
from forecast.core.errors import StoreError, UsageError
from forecast.core.plain_json import to_plain

if TYPE_CHECKING:
    import pyarrow as pa

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
        raise UsageError(f"no format {form!r}", expected="one of " + ", ".join(FORMATS))
    if form == "parquet" and output is None and sys.stdout.isatty():
        raise UsageError("Parquet is no text for a terminal", remedy="add --output FILE, or redirect stdout")
    # The first batch is made before the file is opened: a wrong query leaves no empty file behind.
    first = next(batches, None)
    if first is None:
        return
    whole = _chain(first, batches)
    with _opened(output) as stream:
        if form == "parquet":
            _write_parquet(whole, first, stream)
            return
        text = _text(stream)
        if form == "csv":
            _write_csv(whole, first.schema.names, text)
        elif form == "json":
            _write_json(whole, text)
        else:
            _write_table(whole, first.schema.names, text, max_rows)
        text.flush()
        text.detach()


def _chain(first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from rest


@contextmanager
def _opened(output: Path | None) -> Iterator[BinaryIO]:
    """Write a file under a partial name and rename it at the end; stdout is used as it is."""
    if output is None:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    partial = output.with_name(output.name + ".partial")
    try:
        with partial.open("wb") as stream:
            yield stream
        partial.replace(output)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StoreError(f"{output} cannot be written: {error.strerror or error}", remedy="choose another --output") from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _text(stream: BinaryIO) -> Any:
    import io

    return io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=False)


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
        return json.dumps(to_plain(value), ensure_ascii=False)
    return "" if value is None else value


def _write_json(batches: Iterator[pa.RecordBatch], stream: TextIO) -> None:
    separator = "[\n  "
    for batch in batches:
        for row in batch.to_pylist():
            stream.write(separator + json.dumps(to_plain(row), ensure_ascii=False, allow_nan=False))
            separator = ",\n  "
    stream.write("[]\n" if separator.startswith("[") else "\n]\n")


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
    widths = [max([len(name), *(len(row[i]) for row in rows)]) for i, name in enumerate(names)]
    stream.write("  ".join(name.ljust(width) for name, width in zip(names, widths, strict=True)).rstrip() + "\n")
    stream.write("  ".join("-" * width for width in widths) + "\n")
    for cells in rows:
        stream.write("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip() + "\n")
    if more:
        stderr_console().say(f"first {max_rows} rows; --max-rows shows more, --format csv|json|parquet all")


def _table_cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = json.dumps(to_plain(value), ensure_ascii=False) if isinstance(value, list | dict) else str(value)
    text = text.replace("\n", "\\n")
    return text if len(text) <= _CELL_CHARS else text[: _CELL_CHARS - 1] + "…"
