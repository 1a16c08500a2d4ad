"""The lines of a text file of any size, plain or gzip-compressed, refusing on the way whatever is not text or never ends."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from forecast.core.errors import InputError
from forecast.core.user_files import open_user_file

Advance = Callable[[float], None]
"""Takes the bytes of a file that were read since it was called last."""

_CHUNK_BYTES = 1 << 20
_LONGEST_LINE = 1 << 26
_ALWAYS_BYTES = 1 << 26
_MOST_RATIO = 200
"""Text packs to a fifth, repetitive tables to a fiftieth; gzip can promise a thousand times what it holds."""


class TextFile:
    """The text of a file, piece by piece; a byte order mark is left out.

    Raises:
        InputError: not a regular file, not UTF-8, NUL bytes, a line without end, damaged or overblown compression.
    """

    def __init__(self, path: Path, *, expected: str, advance: Advance | None = None) -> None:
        """Name the file; `expected` says in messages what it should be."""
        self._path = path
        self._expected = expected
        self._advance = advance or (lambda _amount: None)

    def lines(self) -> Iterator[str]:
        """Yield the file's lines with their ends."""
        for piece in self.pieces():
            yield from split_lines(piece)

    def pieces(self) -> Iterator[str]:
        """Yield texts of whole lines, a mebibyte or a little more each."""
        parts: list[str] = []
        waiting = 0
        for text in self._texts():
            cut = text.rfind("\n") + 1
            if cut:
                yield "".join([*parts, text[:cut]])
                parts, waiting = [], 0
            parts.append(text[cut:])
            waiting += len(text) - cut
            if waiting > _LONGEST_LINE:
                raise InputError(f"{self._path} has a line of more than {_LONGEST_LINE >> 20} MiB", expected=self._expected)
        yield "".join(parts)

    def _texts(self) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8-sig")()
        done = 0
        for chunk in self._chunks():
            done += len(chunk)
            if b"\0" in chunk:
                raise InputError(f"{self._path} holds NUL bytes", expected=self._expected, remedy="save it as UTF-8")
            try:
                yield decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                # What the decoder had kept from the chunk before is part of the error's object.
                place = done - len(error.object) + error.start
                raise InputError(
                    f"{self._path} is not UTF-8 text (byte {place})", expected=self._expected, remedy="save it as UTF-8"
                ) from error

    def _chunks(self) -> Iterator[bytes]:
        """Yield what the file holds, then an empty chunk."""
        with open_user_file(self._path, expected=self._expected) as raw:
            packed = self._path.name.lower().endswith(".gz")
            stream = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if packed else raw
            done = position = 0
            chunk = b"-"
            while chunk:
                try:
                    chunk = stream.read(_CHUNK_BYTES)
                except (OSError, EOFError, zlib.error) as error:
                    raise InputError(f"{self._path} cannot be read: {error}", remedy="check or repack the file") from error
                done += len(chunk)
                self._advance(raw.tell() - position)
                position = raw.tell()
                if packed and done > max(_ALWAYS_BYTES, _MOST_RATIO * os.fstat(raw.fileno()).st_size):
                    raise InputError(
                        f"{self._path} unpacks to more than {_MOST_RATIO} times its size",
                        expected=self._expected,
                        remedy="unpack it yourself if it is one",
                    )
                yield chunk


def split_lines(text: str) -> Iterator[str]:
    """Yield the lines of a text with their ends: only CR, LF and CR LF end one, unlike in `str.splitlines`."""
    return iter(io.StringIO(text, newline=""))
