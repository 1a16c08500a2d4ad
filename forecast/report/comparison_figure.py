"""Two families as a picture: measurements, curves with bands, the gain at one level, and the gain over all common levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from forecast.core.observations import BoolArray, FloatArray
from forecast.laws.equivalence import Curve, Gain
from forecast.report.figure_file import check_suffix, save_figure
from forecast.report.quantity_axis import COLOURS, DASHES, MARKS, drawable, frame, grid_between, label_of, scale_of, written

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH = 34
_BLACK = "#000000"


@dataclass(frozen=True, kw_only=True, eq=False)
class FamilyPicture:
    """One family's part of the picture."""

    name: str
    curve: Curve
    flops: FloatArray
    """(rows,) training FLOPs."""
    y: FloatArray
    errors: FloatArray
    """(rows,) standard errors of y; NaN where unknown."""
    near: BoolArray
    """(rows,) whether a run is near the number of tokens per parameter that is compared at; all where none is."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ComparisonPicture:
    """What is drawn."""

    a: FamilyPicture
    b: FamilyPicture
    metric: str
    where: str
    """Task, shots, and at how many tokens per parameter."""
    flops_convention: str
    level: float
    """Nominal coverage of the bands and intervals."""
    gain: Gain
    along: Sequence[Gain]


def draw_comparison(path: Path, picture: ComparisonPicture) -> Path:
    """Draw both families against compute with the gain between them (left), and the gain at each common level (right).

    Raises:
        UsageError: the file name has no known suffix.
    """
    check_suffix(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.2, 5.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1.0))
    _draw_families(left, picture)
    _draw_gains(right, picture)
    title = f"{picture.a.name} and {picture.b.name}: {picture.where}"
    figure.suptitle(written(title, 120) + "\n" + written(_said_of_gain(picture), 120), fontsize=10)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8, frameon=False)
    return save_figure(figure, path)


def _said_of_gain(picture: ComparisonPicture) -> str:
    gain, scale = picture.gain, scale_of(picture.metric)
    unit = " %" if scale > 1 else ""
    return (
        f"{picture.b.name} needs {gain.ratio:.3g} times the compute ({100 * picture.level:g} %: {gain.lo:.3g} to {gain.hi:.3g})"
        f" at {picture.metric} {scale * gain.level:.4g}{unit}"
    )


def _draw_families(axes: Axes, picture: ComparisonPicture) -> None:
    scale = scale_of(picture.metric)
    shown = []
    for index, family in enumerate((picture.a, picture.b)):
        colour = COLOURS[index]
        grid = grid_between(family.curve.low, family.curve.high, log=True)
        curve, (low, high) = family.curve.predict(grid), family.curve.band(grid, picture.level)
        axes.plot(grid, scale * curve, DASHES[index], color=colour, linewidth=1.7, label=_label("curve of", family), zorder=3)
        ok = drawable(low, high)
        axes.fill_between(
            grid[ok],
            scale * low[ok],
            scale * high[ok],
            color=colour,
            alpha=0.2,
            linewidth=0,
            label=_label(f"{100 * picture.level:g} % band of", family),
            zorder=1,
        )
        _draw_runs(axes, family, index, scale)
        shown += [scale * curve, scale * family.y]
    at = scale * picture.gain.level
    ends = [picture.gain.flops_a, picture.gain.flops_b]
    axes.plot(ends, [at, at], "-", color=_BLACK, linewidth=2.2, label="gain: compute of both at one level", zorder=6)
    axes.plot(ends, [at, at], "|", color=_BLACK, markersize=14, markeredgewidth=2.2, zorder=6)
    axes.set_xscale("log")
    frame(axes, np.concatenate(shown), log=False)
    axes.set_xlabel(written(f"training compute (FLOPs, {picture.flops_convention})", 60))
    axes.set_ylabel(written(label_of(picture.metric), 54))
    axes.grid(visible=True, alpha=0.25, linewidth=0.5)


def _label(what: str, family: FamilyPicture) -> str:
    return written(f"{what} {family.name}", _WIDTH)


def _draw_runs(axes: Axes, family: FamilyPicture, index: int, scale: float) -> None:
    style: dict[str, Any] = {"color": COLOURS[index], "marker": MARKS[index], "linestyle": "none", "markerfacecolor": "white"}
    far = ~family.near
    label = _label("runs near that ratio of" if far.any() else "runs of", family)
    axes.plot(family.flops[family.near], scale * family.y[family.near], markersize=5, label=label, zorder=4, **style)
    if far.any():
        axes.plot(
            family.flops[far],
            scale * family.y[far],
            markersize=3.5,
            alpha=0.4,
            label=_label("runs of other tokens per parameter of", family),
            zorder=2,
            **style,
        )
    known = np.isfinite(family.errors) & (family.errors > 0)
    if known.any():
        axes.errorbar(
            family.flops[known],
            scale * family.y[known],
            yerr=scale * family.errors[known],
            fmt="none",
            color=COLOURS[index],
            capsize=2,
            linewidth=0.9,
            label=_label("± standard error of", family),
            zorder=2,
        )


def _draw_gains(axes: Axes, picture: ComparisonPicture) -> None:
    scale = scale_of(picture.metric)
    x = np.array([scale * gain.level for gain in picture.along])
    ratio, lo, hi = (np.array([getattr(gain, name) for gain in picture.along]) for name in ("ratio", "lo", "hi"))
    known = np.concatenate([ratio, lo, hi, [1.0]])
    frame(axes, known[np.isfinite(known) & (known > 0)], log=True)
    bottom, top = axes.get_ylim()
    # What has no end runs out of the panel.
    ends = [np.minimum(lo, ratio), np.maximum(hi, ratio)]
    ends = [np.where(ends[0] > 0, ends[0], bottom / 10), np.where(np.isfinite(ends[1]), ends[1], top * 10)]
    axes.errorbar(x, ratio, yerr=[ratio - ends[0], ends[1] - ratio], fmt="o", color=_BLACK, capsize=3, linewidth=1.2)
    axes.axhline(1.0, color="#666666", linestyle=":", linewidth=1.2)
    axes.set_ylim(bottom, top)
    axes.set_xlabel(written(label_of(picture.metric), 44))
    axes.set_ylabel(
        written(f"compute of {picture.b.name} / compute of {picture.a.name}, {100 * picture.level:g} % intervals", 54)
    )
    axes.grid(visible=True, alpha=0.25, linewidth=0.5)
