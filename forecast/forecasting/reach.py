"""How far a ladder's own measurements reach: between which computes, and which run is the largest."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from forecast.core.observations import Ladder
from forecast.forecasting.preparation import choose_metric


@dataclass(frozen=True, kw_only=True)
class Reach:
    """The checkpoints with both an accuracy and known compute; NaN and None where there are none."""

    metric: str
    """The accuracy that is forecast."""
    min_flops: float
    max_flops: float
    largest_model: str | None
    largest_accuracy: float | None


def reach_of(ladder: Ladder) -> Reach:
    """Return how far a ladder reaches.

    Raises:
        NotForecastableError: no accuracy was measured.
    """
    metric = choose_metric(ladder, None)
    rows = np.flatnonzero(np.isfinite(ladder.flops) & (ladder.flops > 0) & np.isfinite(ladder.metrics[metric]))
    if not len(rows):
        return Reach(metric=metric, min_flops=math.nan, max_flops=math.nan, largest_model=None, largest_accuracy=None)
    top = int(rows[np.argmax(ladder.flops[rows])])
    return Reach(
        metric=metric,
        min_flops=float(ladder.flops[rows].min()),
        max_flops=float(ladder.flops[top]),
        largest_model=ladder.model[top],
        largest_accuracy=float(ladder.metrics[metric][top]),
    )
