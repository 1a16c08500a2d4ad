"""The gain of one way of asking over another as a picture: checkpoints with errors, curve with band, and where it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from forecast.laws.example_gain import GainOnset, GainPoint
from forecast.report.quantity_axis import COLOURS, label_of, scale_of, written

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class GainPicture:
    """What is drawn."""

    title: str
    metric: str
    flops_convention: str
    level: float
    margin: float
    measured: Sequence[tuple[float, float, float | None]]
    """FLOPs, gain and its standard error of each checkpoint."""
    curve: Sequence[GainPoint]
    onset: GainOnset


def gain_figure(picture: GainPicture) -> Figure:
    """Return the figure."""
    from matplotlib.figure import Figure

    scale = scale_of(picture.metric)
    figure = Figure(figsize=(8.6, 4.8), layout="constrained")
    axes = figure.subplots()
    flops, gain, lo, hi = (
        np.array([getattr(point, name) for point in picture.curve]) for name in ("flops", "gain", "lo", "hi")
    )
    axes.fill_between(
        flops, scale * lo, scale * hi, color=COLOURS[0], alpha=0.2, linewidth=0, label=f"{100 * picture.level:g} % band"
    )
    axes.plot(flops, scale * gain, color=COLOURS[0], linewidth=1.7, label="curve of the gain")
    x, y = np.array([row[0] for row in picture.measured]), scale * np.array([row[1] for row in picture.measured])
    errors = scale * np.array([0.0 if row[2] is None else row[2] for row in picture.measured])
    axes.errorbar(x, y, yerr=errors, fmt="o", color="#000000", markersize=4, capsize=2, linewidth=0.9, label="checkpoints ± se")
    axes.axhline(scale * picture.margin, color="#666666", linestyle=":", linewidth=1.2, label="margin")
    if picture.onset.point is not None:
        axes.axvline(picture.onset.point, color=COLOURS[1], linestyle="--", linewidth=1.4, label="start of the gain")
    axes.set_xscale("log")
    axes.set_xlabel(written(f"training compute (FLOPs, {picture.flops_convention})", 60))
    axes.set_ylabel(written(f"gain in {label_of(picture.metric)}", 54))
    axes.grid(visible=True, alpha=0.25, linewidth=0.5)
    figure.suptitle(written(picture.title, 100), fontsize=10)
    figure.legend(loc="outside right center", fontsize=8, frameon=False)
    return figure
