"""Text in figures: names shown as they are, and titles and legends broken so that they fit on the canvas."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from forecast.core.metrics import BY_NAME
from forecast.core.printable import printable
from forecast.report.figure_file import without_font_warnings

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_TITLE_LINES = 4
"""A name of thousands of characters is cut after these: the picture is there to be seen."""
BESIDE, BELOW = 34, 46
"""Letters in a line of a label next to or below a panel, which is 3 inches high and 4 wide."""
_MARGIN = 0.97
"""Share of the canvas's width that a title or a legend may take."""


def figure_text(text: str) -> str:
    r"""Return a name as matplotlib shows it literally: dollars do not begin a formula, control characters are escapes.

    >>> print(figure_text("cost $x_{1$\n"))
    cost \$x_{1\$\n
    """
    return printable(text).replace("$", r"\$")


def axis_label(metric: str, *, chars: int = BESIDE, suffix: str = "") -> str:
    """Return a metric's label with its unit, broken into lines that fit next to a panel, or below it.

    >>> axis_label("acc")
    'accuracy (%)'
    """
    known = BY_NAME.get(metric)
    return wrapped((metric if known is None else known.axis) + suffix, chars=chars)


def axis_scale(metric: str) -> float:
    """Return what values are multiplied by to be in the unit of `axis_label`: 100 for fractions, drawn in percent."""
    known = BY_NAME.get(metric)
    return 100.0 if known is not None and known.unit == "fraction" else 1.0


def wrapped(label: str, *, chars: int = BELOW) -> str:
    """Break a label into lines."""
    return "\n".join(figure_text(line) for line in textwrap.wrap(label, chars, break_on_hyphens=False))


def add_title(figure: Figure, *paragraphs: str, fontsize: float = 10) -> None:
    """Set the figure's title, each paragraph on lines of its own that are no wider than the canvas."""
    lines = [line for paragraph in paragraphs for line in _broken(figure, paragraph, fontsize)]
    _grow(figure, lines=len(lines) - len(paragraphs), fontsize=fontsize)
    figure.suptitle("\n".join(lines), fontsize=fontsize)


def _grow(figure: Figure, *, lines: int, fontsize: float) -> None:
    """Make the figure higher by lines of text, so that they take nothing from the panels."""
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + max(0, lines) * 1.4 * fontsize / 72)


def _broken(figure: Figure, paragraph: str, fontsize: float) -> list[str]:
    text = printable(paragraph)
    room = figure.bbox.width * _MARGIN
    lines, chars = [figure_text(text)], len(text)
    width = _width(figure, lines, fontsize)
    # Letters differ in width: a number of letters is guessed from the average, and may have to be tightened.
    while width > room and chars > 1:
        chars = max(1, min(chars - 1, int(chars * room / width)))
        broken = textwrap.wrap(text, chars, max_lines=MAX_TITLE_LINES, placeholder="...")
        lines = [figure_text(line) for line in broken]
        width = _width(figure, lines, fontsize)
    return lines


def _width(figure: Figure, lines: Sequence[str], fontsize: float) -> float:
    artist = figure.text(0, 0, "\n".join(lines), fontsize=fontsize)
    try:
        with without_font_warnings():
            return float(artist.get_window_extent().width)
    finally:
        artist.remove()


def add_legend(figure: Figure, handles: Sequence[Artist], labels: Sequence[str], *, fontsize: float = 8) -> None:
    """Put a legend below all panels, in as many columns as the canvas is wide."""
    for columns in range(min(6, len(labels)), 0, -1):
        legend = figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=fontsize, frameon=False)
        with without_font_warnings():
            width = legend.get_window_extent().width
        if columns == 1 or width <= figure.bbox.width * _MARGIN:
            _grow(figure, lines=-(-len(labels) // columns) - 2, fontsize=1.2 * fontsize)
            return
        legend.remove()


def add_legend_below(axes: Axes, *, columns: int, title: str = "", fontsize: float = 7) -> None:
    """Put a panel's legend below it, where it covers nothing that is drawn."""
    axes.legend(
        title=title or None,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.16),
        ncols=columns,
        fontsize=fontsize,
        title_fontsize=fontsize + 1,
        frameon=False,
    )
