"""CSV files as tables. Plain text, without quotation marks, is split by Arrow; the rest by Python's own strict reader.

Both give the same cells: whatever Arrow would have to interpret (quotes, blank lines, lone carriage returns, rows of another
length) is left to Python's reader from there on to the end of the file.
"""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from forecast.core.errors import InputError
from forecast.importers.table_blocks import ROWS_PER_BLOCK, Block, Table, check_columns, check_size
from forecast.importers.text_lines import Advance, TextFile, split_lines

_MAX_FIELD_CHARACTERS = 1 << 24
_CHARACTERS_PER_BLOCK = 1 << 25

_ODD = ('"', "\x1c", "\x1d", "\x1e", "\x1f", "\x85")
"""Quotation marks, and what Python calls white space and Arrow does not."""

_Row = tuple[int, list[str]]
"""Line of its beginning, and its cells."""


def read_csv(path: Path, *, advance: Advance | None = None) -> Table:
    """Read a CSV file, compressed or not.

    Raises:
        InputError: missing, unreadable, empty, not rectangular, or a column named twice.
    """
    pieces = TextFile(path, expected="a UTF-8 CSV", advance=advance).pieces()
    header, line, rest = _header(path, pieces)
    if header is None:
        raise InputError(f"{path} is empty", expected="a header and at least one row")
    columns = tuple(name.strip() for name in header)
    if len(columns) == 1 and any(mark in columns[0] for mark in ";\t|"):
        raise InputError(f"{path}: header {columns[0][:60]!r} has no comma", expected="comma-separated values")
    check_columns(path, columns)
    reader = _Reader(path, len(columns), line)
    return Table(path=path, columns=columns, blocks=tuple(reader.blocks(chain([rest], pieces))))


def _header(path: Path, pieces: Iterator[str]) -> tuple[list[str] | None, int, str]:
    """Return the first row that is not blank, the line that it ends with, and what follows it in its piece."""
    text = next(pieces)
    lines = chain(split_lines(text), (line for piece in pieces for line in split_lines(piece)))
    taken = 0

    def counted() -> Iterator[str]:
        nonlocal taken
        for line in lines:
            taken += len(line)
            yield line

    reader = _open(counted())
    try:
        for cells in reader:
            if not _is_blank(cells):
                # A quoted line end may have led beyond the first piece; then nothing of that is left.
                rest = text[taken:] if taken <= len(text) else "".join(lines)
                return cells, reader.line_num, rest
    except csv.Error as error:
        raise _not_csv(path, error) from error
    return None, 0, ""


def _open(lines: Iterator[str]) -> csv._reader:  # type: ignore[name-defined]
    csv.field_size_limit(_MAX_FIELD_CHARACTERS)
    return csv.reader(lines, strict=True)


def _is_blank(cells: Sequence[str]) -> bool:
    return not cells or not (cells[0].strip() or any(cell.strip() for cell in cells))


def _not_csv(path: Path, error: csv.Error) -> InputError:
    return InputError(f"{path} is not a CSV: {error}", expected="comma-separated values")


class _Reader:
    """Cuts the text below a header into blocks."""

    def __init__(self, path: Path, width: int, line: int) -> None:
        self._path = path
        self._width = width
        self._line = line
        """Lines that have been read."""
        self._rows = 0
        """Rows that have been given out."""

    def blocks(self, pieces: Iterator[str]) -> Iterator[Block]:
        parts: list[pa.RecordBatch] = []
        for piece in pieces:
            part = self._split(piece) if piece else None
            if part is not None:
                parts.append(part)
                if sum(part.num_rows for part in parts) >= ROWS_PER_BLOCK:
                    yield self._joined(parts)
                    parts = []
            elif piece:
                if parts:
                    yield self._joined(parts)
                yield from self._remaining(chain([piece], pieces))
                return
        if parts:
            yield self._joined(parts)

    def _split(self, piece: str) -> pa.Table | None:
        """Split a piece of plain text, None where it is not that plain."""
        returns = piece.count("\r")
        if (
            len(piece) > _MAX_FIELD_CHARACTERS
            or any(mark in piece for mark in _ODD)
            or (returns and returns != piece.count("\r\n"))
        ):
            return None
        content = piece.encode("utf-8")
        try:
            table = pacsv.read_csv(
                pa.BufferReader(content),
                read_options=pacsv.ReadOptions(
                    column_names=_names(self._width), use_threads=False, block_size=len(content) + 1
                ),
                parse_options=pacsv.ParseOptions(quote_char=False, ignore_empty_lines=False),
                convert_options=pacsv.ConvertOptions(
                    column_types=dict.fromkeys(_names(self._width), pa.string()), strings_can_be_null=False
                ),
            )
        except pa.ArrowException:
            return None
        blank = pc.equal(pc.utf8_trim_whitespace(table.column(0)), "")
        return None if pc.any(blank).as_py() else table

    def _joined(self, parts: Sequence[pa.Table]) -> Block:
        table = pa.concat_tables(parts).combine_chunks()
        cells = tuple(column.chunk(0) for column in table.columns)
        block = Block(cells=cells, first_row=self._rows + 1, lines=range(self._line + 1, self._line + table.num_rows + 1))
        self._line += table.num_rows
        return self._counted(block)

    def _remaining(self, pieces: Iterator[str]) -> Iterator[Block]:
        """Read the rest row by row."""
        size = 0
        cells: list[list[str]] = []
        places = array("q")

        def lines() -> Iterator[str]:
            nonlocal size
            for piece in pieces:
                size += len(piece)
                yield from split_lines(piece)

        for line, row in self._numbered(lines()):
            if len(row) != self._width:
                raise InputError(
                    f"{self._path}: line {line} has {len(row)} cells", expected=f"{self._width}, as the header has"
                )
            cells.append(row)
            places.append(line)
            if len(cells) == ROWS_PER_BLOCK or size > _CHARACTERS_PER_BLOCK:
                yield self._block(cells, places)
                size, cells, places = 0, [], array("q")
        if cells:
            yield self._block(cells, places)

    def _numbered(self, lines: Iterator[str]) -> Iterator[_Row]:
        reader = _open(lines)
        first = self._line + 1
        try:
            for cells in reader:
                if not _is_blank(cells):
                    yield first, cells
                first = self._line + reader.line_num + 1
        except csv.Error as error:
            raise _not_csv(self._path, error) from error

    def _block(self, cells: list[list[str]], places: array[int]) -> Block:
        columns = tuple(pa.array(column, pa.string()) for column in zip(*cells, strict=True))
        return self._counted(Block(cells=columns, first_row=self._rows + 1, lines=places))

    def _counted(self, block: Block) -> Block:
        self._rows += len(block)
        check_size(self._path, self._rows)
        return block


def _names(width: int) -> list[str]:
    return [str(place) for place in range(width)]
