"""Files that a command will write are checked when its options are read, not after minutes of work."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from forecast.core.errors import InputError
from forecast.report.figure_file import check_suffix


def check_output(parameter: typer.CallbackParam, path: Path | None) -> Path | None:
    """Return the path; what can be known of it beforehand is that a file may be made there.

    Raises:
        InputError: it is a folder, or lies in no folder that can be written to.
    """
    if path is None:
        return None
    option = parameter.opts[0]
    if path.is_dir():
        raise InputError(f"{option} {path} is a folder", expected="the name of a file")
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        reason = "is no folder" if not folder.is_dir() else "is not yours to write to"
        raise InputError(f"{option} {path} cannot be written: {folder} {reason}", remedy="name another file")
    return path


def check_figure(parameter: typer.CallbackParam, path: Path | None) -> Path | None:
    """Return the path of a figure, checked as `check_output` does.

    Raises:
        UsageError: its suffix names no format.
        InputError: it cannot be written.
    """
    if path is not None:
        check_suffix(path)
    return check_output(parameter, path)
