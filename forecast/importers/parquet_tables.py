"""Parquet files as tables: numbers stay numbers, everything else becomes the text that a CSV would hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from forecast.core.errors import InputError
from forecast.core.user_files import check_user_file
from forecast.importers.observation_columns import TEXT_COLUMNS
from forecast.importers.table_blocks import ROWS_PER_BLOCK, Block, Table, check_columns, check_size
from forecast.importers.text_lines import Advance


def read_parquet(path: Path, *, expected: str, advance: Advance | None = None) -> Table:
    """Read a Parquet file.

    Raises:
        InputError: missing, not a regular file, unreadable, or too many rows.
    """
    check_user_file(path, expected=expected)
    try:
        with pq.ParquetFile(path) as file:
            check_size(path, file.metadata.num_rows)
            names = file.schema_arrow.names
            check_columns(path, names)
            share = path.stat().st_size / max(file.metadata.num_rows, 1)
            blocks: list[Block] = []
            done = 0
            for batch in file.iter_batches(ROWS_PER_BLOCK):
                cells = tuple(_cells(path, name, batch.column(place)) for place, name in enumerate(batch.schema.names))
                lines = range(done + 1, done + batch.num_rows + 1)
                blocks.append(Block(cells=cells, first_row=done + 1, lines=lines))
                done += batch.num_rows
                if advance is not None:
                    advance(share * batch.num_rows)
    except (OSError, pa.ArrowException) as error:
        line = str(error).splitlines()[0]
        raise InputError(f"{path} cannot be read: {line}", expected="a Parquet file") from error
    return Table(path=path, columns=tuple(names), blocks=tuple(block for block in blocks if len(block)))


def _cells(path: Path, name: str, column: Any) -> Any:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    if pa.types.is_floating(kind):
        return pa.array(column.to_numpy(zero_copy_only=False).astype("float64"))
    if pa.types.is_integer(kind):
        return column
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return column.cast(pa.string()).fill_null("")
    if pa.types.is_nested(kind) and name in TEXT_COLUMNS:
        raise InputError(f"{path}: column '{name}' holds values of type {kind}", expected="text")
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return _decoded(path, name, column)
    return pa.array(["" if value is None else str(value) for value in column.to_pylist()], pa.string())


def _decoded(path: Path, name: str, column: Any) -> Any:
    """Bytes are text that its writer did not declare, or no text at all."""
    try:
        return column.cast(pa.binary()).cast(pa.string()).fill_null("")
    except pa.ArrowException as error:
        raise InputError(f"{path}: column '{name}' holds bytes that are not UTF-8", expected="text or numbers") from error
