"""Files that a command will write are checked when its options are read, not after minutes of work."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from forecast.core.errors import InputError
from forecast.report.figure_file import check_suffix


def check_output(parameter: typer.CallbackParam, path: Path | None) -> Path | None:
    """Return the path of a file to write, having checked what can be known before there is something to write.

    Raises:
        InputError: it is a folder or a device, or lies in a folder that cannot be written to.
    """
    if path is None:
        return None
    option = parameter.opts[0]
    if path.is_dir():
        raise InputError(f"{option} {path} is a folder", expected="the name of a file")
    if path.exists() and not path.is_file():
        # The finished file takes the place of what has its name: of a pipe, or of /dev/null itself.
        raise InputError(f"{option} {path} is not a regular file", expected="the name of a file")
    _check_place(option, path, path.absolute().parent)
    return path


def check_folder(parameter: typer.CallbackParam, path: Path | None) -> Path | None:
    """Return the path of a folder to write to, checked as far as that is possible beforehand.

    Raises:
        InputError: it is a file, or cannot be made or written to.
    """
    if path is None:
        return None
    option = parameter.opts[0]
    if path.exists() and not path.is_dir():
        raise InputError(f"{option} {path} is not a folder", expected="a folder, or a name that is free")
    _check_place(option, path, path.absolute())
    return path


def _check_place(option: str, path: Path, folder: Path) -> None:
    while not folder.exists():
        folder = folder.parent
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        reason = "is not a folder" if not folder.is_dir() else "is not writable"
        raise InputError(f"{option} {path} cannot be written: {folder} {reason}", remedy="name another place")


def check_figure(parameter: typer.CallbackParam, path: Path | None) -> Path | None:
    """Return the path of a figure, checked as `check_output` does.

    Raises:
        UsageError: its suffix names no format.
        InputError: it cannot be written.
    """
    if path is not None:
        check_suffix(path)
    return check_output(parameter, path)
