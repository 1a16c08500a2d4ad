"""What a figure shows, taken before it is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pytest
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from forecast.report.figure_file import save_figure


@pytest.fixture
def caught(monkeypatch: pytest.MonkeyPatch) -> Callable[[ModuleType], list[Figure]]:
    """Return the figures that a module will write, as a list that grows."""

    def catch(module: ModuleType) -> list[Figure]:
        figures: list[Figure] = []

        def keep(figure: Figure, path: Path) -> Path:
            figures.append(figure)
            return save_figure(figure, path)

        monkeypatch.setattr(module, "save_figure", keep)
        return figures

    return catch


def _texts(figure: Figure) -> list[tuple[str, Bbox]]:
    """Everything written in a figure, with the place it takes; ticks beyond an axis are not drawn."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    found = []
    for artist in figure.findobj(Text):
        assert isinstance(artist, Text)
        if artist.get_visible() and artist.get_text().strip():
            found.append((artist.get_text(), artist.get_window_extent(renderer)))
    beyond = _ticks_beyond(figure, renderer)
    return [(text, box) for text, box in found if (text, tuple(box.extents)) not in beyond]


def _ticks_beyond(figure: Figure, renderer: RendererBase) -> set[tuple[str, tuple[float, ...]]]:
    found = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                if not low <= tick.get_loc() <= high:
                    label = tick.label1
                    found.add((label.get_text(), tuple(label.get_window_extent(renderer).extents)))
    return found


def _outside(figure: Figure) -> Sequence[str]:
    """Texts that leave the canvas by more than a pixel."""
    found = _texts(figure)
    width, height = figure.canvas.get_width_height()
    return [text for text, box in found if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1]


def _overlapping(figure: Figure) -> Sequence[tuple[str, str]]:
    """Pairs of texts that cover each other by more than a pixel each way."""
    found = _texts(figure)
    return [
        (one, other)
        for i, (one, a) in enumerate(found)
        for other, b in found[i + 1 :]
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1
    ]


@pytest.fixture
def outside() -> Callable[[Figure], Sequence[str]]:
    """Find texts that leave the canvas."""
    return _outside


@pytest.fixture
def overlapping() -> Callable[[Figure], Sequence[tuple[str, str]]]:
    """Find texts that cover each other."""
    return _overlapping
