"""A forecast as a picture: compute to NLL, NLL to accuracy, and both together, with what is known and how sure it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from forecast.core.distribution import Distribution
from forecast.core.errors import UsageError
from forecast.core.forecasts import Curve, Forecast
from forecast.core.metrics import ACCURACY_METRICS, BY_NAME
from forecast.core.observations import BoolArray, FloatArray, Ladder
from forecast.report.figure_file import check_suffix, save_figure
from forecast.report.figure_text import BELOW, add_legend, add_title, axis_label, axis_scale, wrapped

# Okabe & Ito 2008 (https://jfly.uni-koeln.de/color/): told apart by the colour-blind, and in grey by lightness and shape.
BLUE, VERMILION, BLACK, GREY = "#0072B2", "#D55E00", "#000000", "#666666"
DENSITY_POINTS = 80


def draw_forecast(ladder: Ladder, forecast: Forecast, path: str | Path, *, held_out: Ladder | None = None) -> Path:
    """Draw a forecast into a file and return its path; the suffix chooses PNG, SVG or PDF. The rest as `forecast_figure`.

    Raises:
        UsageError: another suffix, or a forecast without curves.
        InputError: the file cannot be written.
    """
    file = Path(path)
    check_suffix(file)
    return save_figure(forecast_figure(ladder, forecast, held_out=held_out), file)


def forecast_figure(ladder: Ladder, forecast: Forecast, *, held_out: Ladder | None = None) -> Figure:
    """Draw a forecast from its curves: one panel per step, and compute to accuracy.

    Args:
        ladder: the runs that were fitted.
        forecast: with its curves.
        held_out: row of the target, drawn as the truth.

    Returns:
        A figure that belongs to no window.

    Raises:
        UsageError: another suffix, or the forecast has no curves.
    """
    curves = forecast.curves
    if curves is None or curves.accuracy_of_flops is None:
        raise UsageError("this forecast has no curves to draw")
    two_steps = curves.nll_of_flops is not None and curves.accuracy_of_nll is not None and forecast.nll is not None
    figure = Figure(figsize=(13.0, 4.4) if two_steps else (6.4, 4.6), layout="constrained")
    axes = figure.subplots(1, 3 if two_steps else 1, squeeze=False)[0]
    if two_steps and forecast.nll is not None:
        metric = forecast.nll.metric
        assert curves.nll_of_flops is not None
        assert curves.accuracy_of_nll is not None
        _panel_of_flops(axes[0], ladder, forecast, curves.nll_of_flops, metric, held_out)
        _panel_of_nll(axes[1], ladder, forecast, curves.accuracy_of_nll, metric, held_out)
    _panel_of_flops(axes[-1], ladder, forecast, curves.accuracy_of_flops, forecast.accuracy.metric, held_out)
    numbers = f"forecast {100 * forecast.accuracy.point:.1f} %"
    numbers += f" ({forecast.level:.0%} interval {100 * forecast.accuracy.lo:.1f} to {100 * forecast.accuracy.hi:.1f})"
    if forecast.truth is not None:
        numbers += f", measured {100 * forecast.truth:.1f} %"
    what = f"{forecast.task}, {forecast.family}: {forecast.target.name}"
    add_title(figure, what, f"{numbers}; {forecast.method}, {forecast.verdict.value}")
    add_legend(figure, *axes[-1].get_legend_handles_labels())
    return figure


def _fan(axes: Axes, curve: Curve, scale: float) -> None:
    for level in sorted(curve.bands, reverse=True):
        lower, upper = curve.bands[level]
        axes.fill_between(
            curve.x,
            scale * lower,
            scale * upper,
            color=BLUE,
            alpha=0.42 - 0.32 * level,
            linewidth=0,
            label=f"{level:.0%} band",
            zorder=1,
        )
    axes.plot(curve.x, scale * curve.y, color=BLUE, linewidth=1.6, label="forecast curve", zorder=3)


def _errors(ladder: Ladder, metric: str) -> FloatArray:
    if metric in ladder.sems:
        return ladder.sems[metric]
    if metric in ACCURACY_METRICS and ladder.n_items is not None:
        y = ladder.metrics[metric]
        return np.sqrt(np.clip(y * (1 - y), 0, None) / ladder.n_items)
    return np.full(len(ladder), np.nan)


def _data(axes: Axes, x: FloatArray, ladder: Ladder, metric: str, scale: float) -> None:
    y = ladder.metrics[metric]
    ok: BoolArray = np.isfinite(x) & np.isfinite(y)
    middle, ends = ok & ~ladder.is_final, ok & ladder.is_final
    if middle.any():
        axes.plot(
            x[middle],
            scale * y[middle],
            ".",
            color=GREY,
            markersize=3,
            alpha=0.45,
            label="mid-training checkpoint",
            zorder=2,
            rasterized=True,  # thousands of vector marks make an SVG slow to open
        )
    if ends.any():
        error = np.nan_to_num(_errors(ladder, metric)[ends])
        axes.errorbar(
            x[ends],
            scale * y[ends],
            yerr=scale * error,
            fmt="o",
            color=BLACK,
            markerfacecolor="white",
            markersize=5,
            linewidth=0.9,
            capsize=2,
            label="fitted model (± sampling error)",
            zorder=4,
        )


def _target(axes: Axes, x: float, point: float, lo: float, hi: float, level: float) -> None:
    axes.errorbar(
        [x],
        [point],
        yerr=[[max(0.0, point - lo)], [max(0.0, hi - point)]],
        fmt="D",
        color=VERMILION,
        markerfacecolor="none",
        markeredgewidth=1.6,
        markersize=10,
        capsize=4,
        linewidth=1.8,
        label=f"forecast, {level:.0%} interval",
        zorder=8,
    )


def _skewed(expected: Distribution) -> bool:
    """Whether an interval alone would mislead: its two halves differ by more than a sixth of its width."""
    lo, hi = expected.interval(0.9)
    return abs(hi + lo - 2.0 * expected.median) > (hi - lo) / 6.0


def _density(axes: Axes, x: float, span: float, expected: Distribution) -> None:
    """A skewed distribution, drawn leftwards from the target over a fifth of the axis, as square roots: a spike leaves room."""
    lo, hi = expected.interval(0.998)
    grid = np.linspace(lo, hi, DENSITY_POINTS)
    height = np.sqrt(expected.density(grid))
    axes.fill_betweenx(
        100 * grid,
        x * np.exp(-0.2 * span * height / height.max()),
        x,
        color=VERMILION,
        alpha=0.3,
        linewidth=0,
        label="probability (square root)",
        zorder=2,
    )


def _truth(axes: Axes, x: float, y: float) -> None:
    if np.isfinite(x) and np.isfinite(y):
        # Above the forecast's diamond, which a good forecast would hide it under.
        axes.plot([x], [y], "*", color=BLACK, markersize=12, markeredgecolor="white", label="measured (held out)", zorder=9)


def _chance(axes: Axes, ladder: Ladder, metric: str) -> None:
    if metric in ACCURACY_METRICS and np.isfinite(ladder.chance):
        axes.axhline(100 * ladder.chance, color=GREY, linestyle=":", linewidth=1.2, label="chance", zorder=0)


def _panel_of_flops(axes: Axes, ladder: Ladder, forecast: Forecast, curve: Curve, metric: str, held_out: Ladder | None) -> None:
    scale = axis_scale(metric)
    estimate = forecast.accuracy if metric == forecast.accuracy.metric else forecast.nll
    assert estimate is not None
    top = forecast.target.flops or forecast.fitted_on.max_flops
    if top > forecast.fitted_on.max_flops:
        axes.axvspan(
            forecast.fitted_on.max_flops, top * 1.3, color=GREY, alpha=0.10, linewidth=0, label="extrapolation", zorder=0
        )
    _fan(axes, curve, scale)
    _data(axes, ladder.flops, ladder, metric, scale)
    _chance(axes, ladder, metric)
    _target(axes, top, scale * estimate.point, scale * estimate.lo, scale * estimate.hi, forecast.level)
    expected = forecast.distribution
    if estimate is forecast.accuracy and expected is not None and _skewed(expected):
        _density(axes, top, float(np.log(curve.x[-1] / curve.x[0])), expected)
    if held_out is not None and metric in held_out.metrics:
        _truth(axes, float(held_out.flops[0]), scale * float(held_out.metrics[metric][0]))
    axes.set_xscale("log")
    axes.set_xlabel(wrapped(f"training compute (FLOPs, {ladder.flops_convention})"))
    axes.set_ylabel(axis_label(metric))
    axes.grid(visible=True, which="major", alpha=0.25, linewidth=0.5)


def _panel_of_nll(axes: Axes, ladder: Ladder, forecast: Forecast, curve: Curve, metric: str, held_out: Ladder | None) -> None:
    assert forecast.nll is not None
    falls = metric not in BY_NAME or BY_NAME[metric].falls
    scale, reached = axis_scale(metric), ladder.metrics[metric]
    best, target = float(np.nanmin(reached) if falls else np.nanmax(reached)), forecast.nll.point
    if target < best if falls else target > best:
        axes.axvspan(scale * target, scale * best, color=GREY, alpha=0.10, linewidth=0, zorder=0)
    _fan(axes, replace(curve, x=scale * curve.x), 100.0)
    _data(axes, scale * reached, ladder, forecast.accuracy.metric, 100.0)
    _chance(axes, ladder, forecast.accuracy.metric)
    estimate = forecast.accuracy
    _target(axes, scale * target, 100 * estimate.point, 100 * estimate.lo, 100 * estimate.hi, forecast.level)
    if held_out is not None and metric in held_out.metrics:
        _truth(axes, scale * float(held_out.metrics[metric][0]), 100 * float(held_out.metrics[estimate.metric][0]))
    if falls:
        axes.invert_xaxis()
    axes.set_xlabel(axis_label(metric, chars=BELOW, suffix=", better to the right"))
    axes.set_ylabel(axis_label(estimate.metric))
    axes.grid(visible=True, alpha=0.25, linewidth=0.5)
