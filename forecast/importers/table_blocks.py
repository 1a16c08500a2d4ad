"""Cells of a table in blocks, with the place of every row kept for messages.

Cells are kept in blocks of Arrow columns, as text as a CSV has them (a Parquet file's numbers stay numbers): a million rows
take a fifth of the memory that they would take as Python strings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forecast.core.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_PER_BLOCK = 1 << 16
_MOST_ROWS = 20_000_000
"""More would not fit into memory, and no collection of checkpoints has so many."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """Some consecutive rows of a table."""

    cells: tuple[pa.Array, ...]
    """One array per column: text, or numbers of a Parquet file."""
    first_row: int
    """Number of its first row in the table, from 1."""
    lines: Sequence[int]
    """Line of each row in the file; the row's number for Parquet."""

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.lines)

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield the cells of each row as text."""
        return zip(*(_as_text(column.to_pylist()) for column in self.cells), strict=True)


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table; every row has one cell per column."""

    path: Path
    columns: tuple[str, ...]
    blocks: tuple[Block, ...]

    def __len__(self) -> int:
        """Number of rows."""
        return sum(len(block) for block in self.blocks)

    @cached_property
    def rows(self) -> tuple[tuple[str, ...], ...]:
        """All cells as text, row by row."""
        return tuple(row for block in self.blocks for row in block.rows())

    @cached_property
    def lines(self) -> tuple[int, ...]:
        """Line of each row in the file; row number from 1 for Parquet."""
        return tuple(line for block in self.blocks for line in block.lines)


def check_columns(path: Path, columns: Sequence[str]) -> None:
    """Refuse a column that is named twice.

    Raises:
        InputError: names the column.
    """
    seen: set[str] = set()
    for name in columns:
        if name in seen:
            raise InputError(f"{path}: column '{name}' occurs twice", expected="every column once")
        seen.add(name)


def check_size(path: Path, rows: int) -> None:
    """Refuse a table that memory could not hold.

    Raises:
        InputError: it has more rows than a table may have.
    """
    if rows > _MOST_ROWS:
        raise InputError(f"{path} has more than {_MOST_ROWS:,} rows", expected="fewer", remedy="split it")


def _as_text(values: list[Any]) -> list[str]:
    return ["" if value is None else str(value) for value in values]
