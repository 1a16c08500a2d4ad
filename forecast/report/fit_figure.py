"""A fitted law as a picture: measurements with their errors, the curve with its band, and the constants."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from forecast.core.observations import BoolArray, FloatArray
from forecast.core.units import FLOPS_PER_PARAM_TOKEN
from forecast.laws import FitResult, Space
from forecast.laws.bootstrap import Bootstrap
from forecast.report.figure_file import check_suffix, save_figure
from forecast.report.quantity_axis import (
    COLOURS,
    DASHES,
    MARKS,
    drawable,
    falls,
    frame,
    grid_between,
    label_of,
    scale_of,
    spans_decades,
    written,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

_SIZES = ("params", "params_non_embedding")
_SAME = 1.1
"""Values of the second input within this factor are drawn as one."""
_MANY_POINTS = 2_000


@dataclass(frozen=True, kw_only=True)
class FitPicture:
    """What is drawn of a fit beside the fit itself."""

    columns: Mapping[str, str]
    """Law input -> column that it was taken from."""
    y: str
    """Column that was fitted."""
    errors: FloatArray
    """(rows,) standard errors of y; NaN where unknown."""
    level: float
    """Nominal coverage of the band."""
    constants: Sequence[str]
    """A line for each constant."""
    flops_convention: str
    where: str
    """Family and task, or the table."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Panel:
    """One abscissa, and what the curves beside each other differ in."""

    x: FloatArray
    label: str
    inverted: bool
    other: FloatArray
    """(rows,) of the second input, or of what takes its place."""
    curves: Sequence[tuple[str, float]]
    """Label and value of `other` of each curve."""
    inputs: Callable[[FloatArray, float], FloatArray]
    """Abscissa (points,) and value of `other` -> the law's inputs (points, inputs)."""

    @property
    def nearest(self) -> FloatArray:
        """(rows,) index of the curve that each row is nearest to."""
        values = np.array([value for _label, value in self.curves])
        if len(values) > 1 and values.min() > 0:
            values, other = np.log(values), np.log(self.other)
        else:
            other = self.other
        return np.asarray(np.argmin(np.abs(other[:, None] - values), axis=1))


def draw_fit(path: Path, result: FitResult, replicates: Bootstrap | None, picture: FitPicture) -> Path:
    """Draw a fit: one panel for a law of one input, curves against compute for one of parameters and tokens, else two panels.

    Args:
        path: its suffix chooses PNG, SVG or PDF.
        result: the fit, with its measurements.
        replicates: what the band is taken from; None takes the delta method of the fit's covariance.
        picture: what else is drawn.

    Raises:
        UsageError: another suffix.
    """
    check_suffix(path)
    from matplotlib.figure import Figure

    panels = _panels(result, picture)
    figure = Figure(figsize=(4.4 + 4.8 * len(panels), 5.2), layout="constrained")
    handles: list[tuple[Line2D, str]] = []
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        handles += _draw_panel(axes, panel, result, replicates, picture)
    several = any(len(panel.curves) > 1 for panel in panels)
    handles.append((_mark(several=several), _said_of_points(picture, several=several)))
    handles.append((_patch(), _said_of_band(result, replicates, picture.level)))
    title = f"{result.law.title}; {picture.where}" if picture.where else result.law.title
    width = 60 + 62 * len(panels)
    figure.suptitle(written(title, width) + "\n" + written(result.law.formula, width), fontsize=10)
    unique = {text: handle for handle, text in handles}
    unique |= {written(line, 34): _blank() for line in picture.constants}
    figure.legend(list(unique.values()), list(unique), loc="outside right center", fontsize=8, frameon=False)
    return save_figure(figure, path)


def _blank() -> Line2D:
    """A line of text in a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="none")


def _panels(result: FitResult, picture: FitPicture) -> list[_Panel]:
    names, x = [entry.name for entry in result.law.inputs], result.points.x
    labels = [
        f"training compute (FLOPs, {picture.flops_convention})"
        if picture.columns[entry.name] == "flops"
        else label_of(picture.columns[entry.name], entry.unit)
        for entry in result.law.inputs
    ]
    rising = result.law.output_fraction and not picture.y.startswith("error")
    turned = [rising and (falls(picture.columns[name]) or name == "nll") for name in names]
    if len(names) == 1:
        return [
            _Panel(
                x=x[:, 0],
                label=labels[0],
                inverted=turned[0],
                other=np.zeros(len(x)),
                curves=[("fitted law", 0.0)],
                inputs=lambda grid, _other: grid[:, None],
            )
        ]
    if names[0] in _SIZES and names[1] == "tokens":
        return [_of_compute(x, picture.columns[names[0]])]
    # A flag, such as test or training error, is no abscissa.
    flags = [len(np.unique(column)) <= 2 for column in x.T]
    chosen = [(i, 1 - i) for i in (0, 1) if not flags[i] or all(flags)]
    found = []
    for place, (i, j) in zip(("left: ", "right: ") if len(chosen) > 1 else ("",), chosen, strict=True):

        def inputs(grid: FloatArray, other: float, first: int = i) -> FloatArray:
            columns = [grid, np.full(len(grid), other)]
            return np.stack(columns if first == 0 else columns[::-1], axis=-1)

        curves = [(f"{place}{names[j]} = {value:.3g}", value) for value in _typical(x[:, j])]
        found.append(_Panel(x=x[:, i], label=labels[i], inverted=turned[i], other=x[:, j], curves=curves, inputs=inputs))
    return found


def _of_compute(x: FloatArray, counted: str) -> _Panel:
    """Curves against 6 N D, one for each typical number of tokens per parameter."""
    ratio = x[:, 1] / x[:, 0]

    def inputs(grid: FloatArray, tokens_per_param: float) -> FloatArray:
        params = np.sqrt(grid / (FLOPS_PER_PARAM_TOKEN * tokens_per_param))
        return np.stack([params, tokens_per_param * params], axis=-1)

    kind = "all parameters" if counted == "params" else "parameters without embeddings"
    return _Panel(
        x=FLOPS_PER_PARAM_TOKEN * x[:, 0] * x[:, 1],
        label=f"training compute 6 N D (FLOPs; N: {kind})",
        inverted=False,
        other=ratio,
        curves=[(f"{value:.3g} tokens per parameter", value) for value in _typical(ratio)],
        inputs=inputs,
    )


def _typical(values: FloatArray) -> list[float]:
    """Up to three values to draw curves at: all of few, else the 10th, 50th and 90th percentile, apart by a tenth or more."""
    distinct = np.unique(values)
    wanted = distinct if len(distinct) <= len(MARKS) - 1 else np.quantile(values, [0.1, 0.5, 0.9], method="nearest")
    if distinct.min() > 0 and distinct.max() <= _SAME * distinct.min():
        return [float(np.median(values))]
    found: list[float] = []
    for value in map(float, wanted):
        if not found or distinct.min() <= 0 or value > _SAME * found[-1]:
            found.append(value)
    return found


def _draw_panel(
    axes: Axes, panel: _Panel, result: FitResult, replicates: Bootstrap | None, picture: FitPicture
) -> list[tuple[Line2D, str]]:
    scale, y = scale_of(picture.y), result.points.y
    log_x = spans_decades(panel.x)
    grid = grid_between(float(panel.x.min()), float(panel.x.max()), log=log_x)
    handles: list[tuple[Line2D, str]] = []
    shown = [scale * y, scale * (y - np.nan_to_num(picture.errors)), scale * (y + np.nan_to_num(picture.errors))]
    for index, (label, value) in enumerate(panel.curves):
        inputs = panel.inputs(grid, value)
        curve = scale * result.predict(inputs)
        low, high = band_of(result, replicates, inputs, picture.level)
        ok = drawable(curve)
        (line,) = axes.plot(grid[ok], curve[ok], DASHES[index % 4], color=COLOURS[index % 4], linewidth=1.7, zorder=3)
        ok = drawable(low, high)
        axes.fill_between(
            grid[ok], scale * low[ok], scale * high[ok], color=COLOURS[index % 4], alpha=0.2, linewidth=0, zorder=1
        )
        handles.append((line, written(label, 34)))
        rows = panel.nearest == index
        _draw_points(axes, panel.x, scale * y, scale * picture.errors, rows, index)
        if len(panel.curves) == 1:
            shown.append(curve)
    if log_x:
        axes.set_xscale("log")
    if panel.inverted:
        axes.invert_xaxis()
    frame(axes, np.concatenate(shown), log=result.space is Space.LOG and bool(np.all(y > 0)))
    axes.set_xlabel(written(panel.label + (", better to the right" if panel.inverted else ""), 62))
    axes.set_ylabel(written(label_of(picture.y, result.law.output), 54))
    axes.grid(visible=True, alpha=0.25, linewidth=0.5)
    return handles


def _draw_points(
    axes: Axes, x: FloatArray, y: FloatArray, errors: FloatArray, rows: BoolArray | FloatArray, index: int
) -> None:
    known = np.asarray(rows) & np.isfinite(errors) & (errors > 0)
    style: dict[str, Any] = {"color": COLOURS[index % 4], "marker": MARKS[index % 4], "linestyle": "none", "zorder": 4}
    many = len(x) > _MANY_POINTS
    axes.plot(x[rows], y[rows], markersize=2 if many else 4.5, markerfacecolor="white", rasterized=many, **style)
    if known.any():
        axes.errorbar(x[known], y[known], yerr=errors[known], color=COLOURS[index % 4], fmt="none", capsize=2, linewidth=0.9)


def _mark(*, several: bool) -> Line2D:
    from matplotlib.lines import Line2D

    colour = "#000000" if several else COLOURS[0]
    return Line2D([], [], linestyle="none", marker="o", color=colour, markerfacecolor="white", markersize=4.5)


def _patch() -> Line2D:
    from matplotlib.lines import Line2D

    return Line2D([], [], linewidth=7, color="#666666", alpha=0.3)


def _said_of_points(picture: FitPicture, *, several: bool) -> str:
    bars = " ± standard error" if np.any(np.isfinite(picture.errors) & (picture.errors > 0)) else ""
    return written(f"measured{bars}" + (", coloured as the nearest curve" if several else ""), 34)


def _said_of_band(result: FitResult, replicates: Bootstrap | None, level: float) -> str:
    how = "delta method" if replicates is None else f"bootstrap over {replicates.blocks} runs"
    doubt = "" if result.identified else "; some constants are not identified"
    return written(f"{100 * level:g} % band of the mean ({how}{doubt})", 34)


def band_of(result: FitResult, replicates: Bootstrap | None, inputs: FloatArray, level: float) -> tuple[FloatArray, FloatArray]:
    """Ends (points,) of the fitted mean's interval at inputs (points, inputs); NaN where there is none."""
    if replicates is not None:
        ends = [
            replicates.interval_of(column, level) if np.isfinite(column).any() else (np.nan, np.nan)
            for column in replicates.predict(inputs).T
        ]
        low, high = np.array(ends).T
        return low, high
    mean, error = result.predict(inputs), result.predict_se(inputs)
    rows = len(result.points.y)
    t = float(stats.t.ppf((1 + level) / 2, max(rows - len(result.free), 1)))
    with np.errstate(all="ignore"):
        if result.space is Space.LOG:
            # A loss has no negative values: the interval is one of its logarithm, as the residuals are.
            ratio = np.exp(t * error / mean)
            return mean / ratio, mean * ratio
        return mean - t * error, mean + t * error
