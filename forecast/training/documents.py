"""Documents of a corpus, one by one: plain text (also .gz, .xz) parted by `<|endoftext|>` lines, or a Parquet column `text`."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from forecast.core.errors import InputError

DOCUMENT_END = b"<|endoftext|>"
_TEXT_COLUMN = "text"


def read_documents(path: Path) -> Iterator[str]:
    """Yield the documents of `path`, empty ones left out; only the current one is in memory.

    Raises:
        InputError: the file is missing or damaged, is not UTF-8, or (Parquet) has no text column.
    """
    if not path.is_file():
        raise InputError(f"no corpus '{path}'", expected="a text or Parquet file", remedy="check the path")
    try:
        if path.suffix == ".parquet":
            yield from _read_parquet(path)
        else:
            yield from _read_text(path)
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise InputError(f"{path} cannot be read: {error}", expected="a whole file") from error


def _open(path: Path) -> BinaryIO:
    if path.suffix == ".gz":
        return cast(BinaryIO, gzip.open(path, "rb"))
    if path.suffix == ".xz":
        return cast(BinaryIO, lzma.open(path, "rb"))
    return path.open("rb")


def _read_text(path: Path) -> Iterator[str]:
    lines: list[bytes] = []
    with _open(path) as handle:
        for number, line in enumerate(handle, start=1):
            if line.strip() == DOCUMENT_END:
                yield from _finish(lines)
                lines = []
                continue
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path}, line {number}: byte {error.start + 1} (0x{line[error.start]:02x}) is not UTF-8",
                    expected="UTF-8 text",
                    remedy="convert the file, e.g. with iconv",
                ) from error
            lines.append(line)
    yield from _finish(lines)


def _finish(lines: list[bytes]) -> Iterator[str]:
    document = b"".join(lines).decode("utf-8").strip("\n")
    if document.strip():
        yield document


def _read_parquet(path: Path) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path)
        if _TEXT_COLUMN not in table.schema_arrow.names:
            raise InputError(
                f"{path} has the columns {', '.join(table.schema_arrow.names)}", expected=f"a column '{_TEXT_COLUMN}'"
            )
        for batch in table.iter_batches(columns=[_TEXT_COLUMN], batch_size=256):
            for document in batch.column(0).to_pylist():
                if isinstance(document, str) and document.strip():
                    yield document
    except pa.ArrowInvalid as error:
        raise InputError(f"{path} cannot be read: {error}", expected="a Parquet file") from error
