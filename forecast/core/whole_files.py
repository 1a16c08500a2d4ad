"""A file that a user named is replaced whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from forecast.core.errors import InputError


def real_path(path: Path) -> Path:
    """Return the file that a symbolic link points to, whether it exists yet or not; any other path unchanged.

    Renaming over a link would leave two files of one name that drift apart.
    """
    try:
        return path.resolve() if path.is_symlink() else path
    except (OSError, RuntimeError):
        return path  # a loop of links: opening it says so


def _is_database(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(12)[8:] == b"DUCK"
    except FileNotFoundError:
        return False


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the name to write to; the file takes the place of `path` when the block ends well; otherwise nothing has changed.

    A symbolic link stays one, and permissions stay what they were. A device or a pipe is written to as it is.

    Raises:
        InputError: the file is a database.
    """
    target = real_path(path)
    if target.exists() and not target.is_file():
        yield target
        return
    if _is_database(target):
        raise InputError(f"{path} is a DuckDB database, perhaps your results", remedy="name another file to write")
    partial = target.with_name(target.name + ".partial")
    try:
        yield partial
        if target.exists():
            shutil.copymode(target, partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
