"""Standard streams that cannot surprise: a full disk is one line, a reader may leave, any encoding will do."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING

from forecast.core.errors import EXIT_OK, ForecastError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

DEBUG_VARIABLE = "FORECAST_DEBUG"
"""Set to anything but 0, errors come with their traceback; `forecast --traceback ...` sets it."""


class OutputError(ForecastError):
    """Results cannot be written to standard output."""


class ReaderGoneError(ForecastError):
    """The reader of a pipe (head, less) went away; what it wanted it has."""

    exit_code = EXIT_OK


class _Results(io.FileIO):
    """Standard output. The first failure is raised; later writes, such as the flush at exit, go nowhere."""

    _failed = False

    def write(self, data: ReadableBuffer, /) -> int:
        """Write all or raise what `main` turns into one line."""
        if self._failed:
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except BrokenPipeError as error:
            self._failed = True
            raise ReaderGoneError("the reader of standard output is gone") from error
        except OSError as error:
            self._failed = True
            raise OutputError(f"standard output cannot be written: {error.strerror or error}") from error


class _Notices(io.FileIO):
    """Standard error: hours of work must not end because nobody can read its notices."""

    def write(self, data: ReadableBuffer, /) -> int:
        """Write what can be written."""
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def prepare_streams() -> None:
    """Put the streams above in place of the interpreter's own; streams that someone else has put there are left alone."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # Else the next file to be opened, such as the results file, would be what other libraries print to.
            # Opened the wrong way round, so that using it fails as on a closed stream.
            os.open(os.devnull, os.O_RDONLY if descriptor else os.O_WRONLY)
    if sys.stdout is sys.__stdout__:
        sys.stdout = _wrap(_Results(1, "wb", closefd=False), sys.__stdout__)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _wrap(_Notices(2, "wb", closefd=False), sys.__stderr__, line_buffering=True)


def _wrap(raw: io.FileIO, before: io.TextIOBase | object | None, *, line_buffering: bool = False) -> io.TextIOWrapper:
    encoding = getattr(before, "encoding", None) or "utf-8"
    # A table's lines and arrows in a Latin-1 terminal: what cannot be encoded is written as an escape.
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=encoding, errors="backslashreplace", line_buffering=line_buffering or raw.isatty()
    )
