"""A family's own forecast and what its references say, made one: each counts by how narrow its interval is."""

from __future__ import annotations

import numpy as np

from forecast.core.distribution import PROBABILITIES, Distribution
from forecast.core.observations import FloatArray
from forecast.forecasting.references.conditioning import draw_accuracies
from forecast.forecasting.references.fitting import FittedPopulation
from forecast.forecasting.references.population import Measurements

LEVEL = 0.8
"""Interval whose width decides the weights: further out tails are the methods' own."""
TOLERATED = 2.0
"""Standard deviations by which references may miss the largest run of one's own before they lose weight."""


def reference_weight(own: Distribution, references: Distribution, contradiction: float) -> float:
    """Share of the references: inverse squared widths, less where the family's own runs contradict them.

    With more runs of one's own their interval narrows, and the references' share falls.

    Args:
        own: what own runs say alone.
        references: what references say, given the own runs.
        contradiction: standard deviations by which the references missed the largest own run (`contradiction_of`).
    """
    lo, hi = own.interval(LEVEL)
    low, high = references.interval(LEVEL)
    mine, theirs = max(hi - lo, 1e-4) ** 2, max(high - low, 1e-4) ** 2
    trust = float(np.exp(-0.5 * max(0.0, contradiction**2 - TOLERATED**2)))
    return trust * mine / (mine + theirs)


def blended(own: Distribution, references: Distribution, weight: float) -> Distribution:
    """Return the mean of the two quantile functions: two that agree give one as narrow, not a wider mixture.

    >>> half = blended(Distribution.from_samples([0.2]), Distribution.from_samples([0.4]), 0.5)
    >>> round(half.median, 6)
    0.3
    """
    values = (1.0 - weight) * own.quantiles(PROBABILITIES) + weight * references.quantiles(PROBABILITIES)
    return Distribution(np.maximum.accumulate(values), PROBABILITIES)


def contradiction_of(fitted: FittedPopulation, seen: Measurements, task: int, *, seed: int = 0) -> float:
    """Standard deviations by which the references, given all smaller own runs, miss the largest own run on a task.

    0 where there is no smaller run to give.
    """
    own = seen.at.task == task
    if own.sum() < 2:
        return 0.0
    last = seen.at.scale >= seen.at.scale[own].max()
    target = seen.rows(last & own)
    draws = draw_accuracies(fitted, seen.rows(~last), target.at, seed=seed)[:, 0]
    lo, middle, hi = np.quantile(draws, [0.16, 0.5, 0.84])
    truth = float(target.accuracy[0])
    spread = float(np.hypot(hi - middle if truth > middle else middle - lo, np.sqrt(target.variance[0])))
    return abs(truth - float(middle)) / max(spread, 1e-6)


def distribution_of(draws: FloatArray, variance: float, *, seed: int = 0) -> Distribution:
    """Return the distribution of a measured accuracy: the draws with the sampling error of the items."""
    rng = np.random.default_rng([seed, 2])
    return Distribution.from_samples(np.clip(draws + rng.normal(size=draws.size) * np.sqrt(variance), 0.0, 1.0))
