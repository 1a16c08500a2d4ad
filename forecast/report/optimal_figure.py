"""Three pictures of compute-optimal training: isoFLOP parabolas, the envelope of loss curves, contours of the fitted loss."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from forecast.laws import FitResult
from forecast.laws.envelope import Envelope
from forecast.laws.isoflop import Parabola
from forecast.laws.optimal import Frontier, TrainingRuns
from forecast.report.figure_file import check_suffix, save_figure
from forecast.report.figure_text import add_legend_below, axis_label, figure_text

DASHES = ("-", "--", "-.", ":")

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_optimal(
    path: Path,
    *,
    runs: TrainingRuns,
    metric: str,
    envelope: Envelope | None,
    parabolas: Sequence[Parabola],
    fit: FitResult | None,
    frontiers: Sequence[Frontier],
    budgets: Sequence[float],
) -> None:
    """Draw what was found into a file; the rest as `optimal_figure`.

    Raises:
        UsageError: the file name has no known suffix.
    """
    check_suffix(path)
    figure = optimal_figure(
        runs=runs, metric=metric, envelope=envelope, parabolas=parabolas, fit=fit, frontiers=frontiers, budgets=budgets
    )
    save_figure(figure, path)


def optimal_figure(
    *,
    runs: TrainingRuns,
    metric: str,
    envelope: Envelope | None,
    parabolas: Sequence[Parabola],
    fit: FitResult | None,
    frontiers: Sequence[Frontier],
    budgets: Sequence[float],
) -> Figure:
    """Draw what was found; a part without data says so in its panel."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(16.5, 5.4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    _draw_parabolas(left, parabolas, metric)
    _draw_envelope(middle, envelope, metric)
    _draw_contours(right, runs, metric, fit, frontiers, budgets)
    return figure


def _missing(axes: Axes, title: str, why: str) -> None:
    axes.set_title(title, fontsize=11)
    axes.text(0.5, 0.5, why, ha="center", va="center", transform=axes.transAxes, wrap=True)
    axes.set_axis_off()


def _draw_parabolas(axes: Axes, parabolas: Sequence[Parabola], metric: str) -> None:
    title = "isoFLOP: a parabola at each budget"
    if not parabolas:
        _missing(axes, title, "no budgets with enough sizes")
        return
    from matplotlib import colormaps

    colours = colormaps["viridis"](np.linspace(0.0, 0.9, len(parabolas)))
    for parabola, colour in zip(sorted(parabolas, key=lambda entry: entry.flops), colours, strict=True):
        sizes = parabola.slice.params if _is_size(parabola) else parabola.slice.tokens
        axes.plot(sizes, parabola.slice.loss, "o", ms=3.5, color=colour)
        log_s = np.linspace(np.log(sizes.min()), np.log(sizes.max()), 80)
        curve = parabola.floor + parabola.bend * (log_s - parabola.centre) ** 2
        axes.plot(np.exp(log_s), curve, color=colour, lw=1.2, label=f"{parabola.flops:.1e}")
        if parabola.inside:
            axes.plot(np.exp(parabola.centre), parabola.floor, "*", ms=11, color=colour, mec="black", mew=0.6)
    axes.set_xscale("log")
    axes.set_xlabel("size (parameters)" if _is_size(parabolas[0]) else "training data (tokens)")
    axes.set_ylabel(axis_label(metric))
    axes.set_title(title, fontsize=11)
    add_legend_below(axes, columns=4, title="budget (FLOPs)")


def _is_size(parabola: Parabola) -> bool:
    """Whether the parabola is drawn in log N: its centre is where the sizes are."""
    log_n, log_d = np.log(parabola.slice.params), np.log(parabola.slice.tokens)
    return bool(abs(parabola.centre - log_n.mean()) <= abs(parabola.centre - log_d.mean()))


def _draw_envelope(axes: Axes, envelope: Envelope | None, metric: str) -> None:
    title = "Envelope of loss curves"
    if envelope is None:
        _missing(axes, title, "too few loss curves")
        return
    from matplotlib import colormaps

    order = sorted(envelope.curves, key=lambda curve: curve.params)
    colours = colormaps["plasma"](np.linspace(0.0, 0.9, len(order)))
    for curve, colour in zip(order, colours, strict=True):
        axes.plot(np.exp(curve.log_c), curve.loss, color=colour, lw=0.9, alpha=0.8)
    axes.plot(envelope.flops, envelope.loss, color="black", lw=2.0, label="envelope")
    axes.set_xscale("log")
    axes.set_xlabel("training compute (FLOPs)")
    axes.set_ylabel(axis_label(metric))
    axes.set_title(f"{title}\n{order[0].params:.2g} to {order[-1].params:.2g} parameters", fontsize=11)
    add_legend_below(axes, columns=1, fontsize=8)


def _draw_contours(
    axes: Axes, runs: TrainingRuns, metric: str, fit: FitResult | None, frontiers: Sequence[Frontier], budgets: Sequence[float]
) -> None:
    top = max([float(runs.flops.max()), *budgets])
    low = float(runs.flops.min())
    if fit is not None:
        flops = np.geomspace(low, top * 2, 120)
        params = np.geomspace(runs.params.min() / 2, max(runs.params.max(), *(f.params(top) for f in frontiers)) * 2, 120)
        grid_c, grid_n = np.meshgrid(flops, params)
        k = float(np.median(runs.flops / (runs.params * runs.tokens)))
        loss = fit.predict(np.stack([grid_n.ravel(), (grid_c / (k * grid_n)).ravel()], axis=-1)).reshape(grid_c.shape)
        floor = float(fit.theta[fit.law.names.index("E")])
        levels = floor + np.geomspace(max(loss.min() - floor, 1e-3) * 1.02, 4.0 * (runs.loss.max() - floor), 14)
        lines = axes.contour(grid_c, grid_n, loss, levels=levels, cmap="viridis", linewidths=0.8)
        axes.clabel(lines, fontsize=6, fmt="%.3g")
    axes.scatter(runs.flops, runs.params, c=runs.loss, s=9, cmap="viridis", zorder=2)
    span = np.geomspace(low, top * 2, 60)
    for frontier, dashes in zip(frontiers, itertools.cycle(DASHES)):
        # Two approaches often agree: the dashes of one let the other be seen.
        axes.plot(span, [frontier.params(c) for c in span], lw=1.6, ls=dashes, label=f"{frontier.approach}: C^{frontier.a:.2f}")
    for budget in budgets:
        axes.axvline(budget, color="grey", ls=":", lw=0.9)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("training compute (FLOPs)")
    axes.set_ylabel("size (parameters)")
    axes.set_title(f"Optimal size; contours: fitted {figure_text(metric)}", fontsize=11)
    add_legend_below(axes, columns=2)
