"""Writes a finished figure: its folder is made, its suffix decides the format, failures are said in one line."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from forecast.core.errors import InputError, UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")
DOTS_PER_INCH = 160


def check_suffix(path: Path) -> None:
    """Check that a figure's name says which format to write; needs no plotting library.

    Raises:
        UsageError: its suffix names no format.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"cannot draw '{path}'", expected="a file name ending in " + ", ".join(SUFFIXES))


@contextmanager
def without_font_warnings() -> Iterator[None]:
    """Say nothing of a name in a script that the font lacks: it is drawn as boxes, and the rest of the picture is as good."""
    with warnings.catch_warnings():
        for message in ("Glyph .* missing from", "Matplotlib currently does not support .* natively"):
            warnings.filterwarnings("ignore", message=message, category=UserWarning)
        yield


def save_figure(figure: Figure, path: Path) -> Path:
    """Write the figure and return its path; an SVG has no date and no random names, so that equal figures are equal files.

    Raises:
        InputError: the file or its folder cannot be written.
    """
    from matplotlib import rc_context

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with rc_context({"svg.hashsalt": "forecast"}), without_font_warnings():
            figure.savefig(path, dpi=DOTS_PER_INCH, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}", remedy="name another file") from error
    return path
