"""Opens files that a user named: only regular ones, so that a pipe or a device never makes a command wait for ever."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from forecast.core.errors import ForecastError, InputError

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)
"""Opening a pipe that nobody writes to would wait for a writer."""


def check_user_file(path: Path, *, expected: str = "a regular file", error: type[ForecastError] = InputError) -> None:
    """Refuse what other libraries must not be given to open: anything but a readable regular file.

    Args:
        path: as the user wrote it; symbolic links are followed.
        expected: what the file should be, for the message.
        error: class of the error.

    Raises:
        ForecastError: nothing is there, it is not a regular file, or it may not be read.
    """
    with open_user_file(path, expected=expected, error=error):
        pass


def open_user_file(path: Path, *, expected: str = "a regular file", error: type[ForecastError] = InputError) -> BinaryIO:
    """Open a regular file for reading; the check is on what was opened, not on what the name pointed to a moment before.

    Raises:
        ForecastError: nothing is there, it is not a regular file, or it may not be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | _NO_WAIT)
    except FileNotFoundError as missing:
        raise error(f"no file {path}", expected=expected, remedy="check the path") from missing
    except (OSError, ValueError) as failure:
        kind = _kind_of(path)
        if kind:
            raise error(f"{path} is {kind}", expected=expected) from failure
        reason = failure.strerror if isinstance(failure, OSError) and failure.strerror else str(failure)
        raise error(f"{path} cannot be read: {reason}", expected=expected, remedy="check its permissions") from failure
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        remedy = "write its content to a file first" if stat.S_ISFIFO(mode) else ""
        raise error(f"{path} is {_name_kind(mode)}", expected=expected, remedy=remedy)
    return os.fdopen(descriptor, "rb")


def read_user_bytes(
    path: Path, *, expected: str = "a regular file", error: type[ForecastError] = InputError, limit: int | None = None
) -> bytes:
    """Return a regular file's content.

    Args:
        path: as the user wrote it.
        expected: what the file should be, for the message.
        error: class of the error.
        limit: most bytes that such a file may have.

    Raises:
        ForecastError: as `open_user_file`, reading fails, or the file is larger than `limit`.
    """
    with open_user_file(path, expected=expected, error=error) as handle:
        size = os.fstat(handle.fileno()).st_size
        if limit is not None and size > limit:
            raise error(f"{path} has {size:,} bytes", expected=f"{expected} of at most {limit:,} bytes")
        try:
            return handle.read()
        except OSError as failure:
            raise error(f"{path} cannot be read: {failure.strerror or failure}", expected=expected) from failure


def read_user_text(
    path: Path, *, expected: str = "a text file in UTF-8", error: type[ForecastError] = InputError, limit: int | None = None
) -> str:
    """Return a regular file's content as UTF-8 text, a byte order mark left out.

    Raises:
        ForecastError: as `read_user_bytes`, or the content is not UTF-8 (the byte is named).
    """
    content = read_user_bytes(path, expected=expected, error=error, limit=limit)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        raise error(
            f"{path} is not UTF-8: byte {failure.start} (from 0) is 0x{content[failure.start]:02x}", expected=expected
        ) from failure


def _kind_of(path: Path) -> str:
    """What an existing path is where it is not a regular file; empty otherwise."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116  A path with a NUL byte raises ValueError here too.
    except (OSError, ValueError):
        return ""
    return "" if stat.S_ISREG(mode) else _name_kind(mode)


def _name_kind(mode: int) -> str:
    return next((name for test, name in _KINDS if test(mode)), "not a regular file")
