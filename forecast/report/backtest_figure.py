"""A back-test as a picture: error against extrapolation, and coverage against what was promised."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from forecast.core.observations import FloatArray
from forecast.report.figure_file import check_suffix, save_figure
from forecast.report.figure_text import add_legend, add_title, figure_text

# Okabe & Ito 2008; shapes and dashes differ too, so that the lines are told apart in grey.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#666666")
MARKERS = "osD^vPX<>"
DASHES = ("-", "--", "-.", ":")


def draw_backtest(
    edges: FloatArray,
    errors: Mapping[str, FloatArray],
    levels: FloatArray,
    coverage: Mapping[str, FloatArray],
    path: Path,
    *,
    title: str,
) -> Path:
    """Draw a back-test into a file and return its path; the suffix chooses PNG, SVG or PDF. The rest as `backtest_figure`.

    Raises:
        UsageError: another suffix.
    """
    check_suffix(path)
    return save_figure(backtest_figure(edges, errors, levels, coverage, title=title), path)


def backtest_figure(
    edges: FloatArray,
    errors: Mapping[str, FloatArray],
    levels: FloatArray,
    coverage: Mapping[str, FloatArray],
    *,
    title: str,
) -> Figure:
    """Draw mean absolute error by extrapolation factor (left) and coverage by nominal level (right).

    Args:
        edges: (E + 1,) of the bins of the extrapolation factor.
        errors: method -> (E,) mean absolute errors, as fractions.
        levels: (L,) nominal levels.
        coverage: method -> (L,) shares covered.
        title: over both panels.
    """
    figure = Figure(figsize=(10.5, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    middle = np.sqrt(edges[:-1] * edges[1:])
    for i, (name, values) in enumerate(errors.items()):
        ok = np.isfinite(values)
        style = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}
        left.plot(middle[ok], 100 * values[ok], linestyle=DASHES[i % 4], linewidth=2.2 if name == "auto" else 1.2, **style)
        right.plot(
            100 * levels,
            100 * coverage[name],
            linestyle=DASHES[i % 4],
            linewidth=2.2 if name == "auto" else 1.2,
            label=figure_text(name),
            **style,
        )
    left.set_xscale("log")
    left.set_ylim(bottom=0)
    left.set_xlabel("target's compute over the largest fitted run's")
    left.set_ylabel("mean absolute error (accuracy points)")
    right.plot([40, 100], [40, 100], color="#666666", linewidth=0.8)
    right.set_xlim(45, 100)
    right.set_ylim(0, 102)
    right.set_xlabel("nominal level (%)")
    right.set_ylabel("held-out runs inside the interval (%)")
    for axes in (left, right):
        axes.grid(visible=True, alpha=0.25, linewidth=0.5)
    add_title(figure, title)
    add_legend(figure, *right.get_legend_handles_labels())
    return figure
