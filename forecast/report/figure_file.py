"""Writes a finished figure: its folder is made, its suffix decides the format, failures are said in one line."""

from __future__ import annotations

from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from forecast.core.errors import InputError

DOTS_PER_INCH = 160


def save_figure(figure: Figure, path: Path) -> Path:
    """Write the figure and return its path; an SVG carries no date and no random names, so that equal figures are equal files.

    Raises:
        InputError: the file or its folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with rc_context({"svg.hashsalt": "forecast"}):
            figure.savefig(path, dpi=DOTS_PER_INCH, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}", remedy="name another file") from error
    return path
