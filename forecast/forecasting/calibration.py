"""How far to trust a stated spread: a posterior for the factor on its model part, from back-test errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecast.core.observations import FloatArray

DEGREES = 5.0
"""Degrees of freedom of Student's t: some benchmarks jump, so errors have heavy tails."""
FAMILY_SD = 0.4
"""Prior standard deviation of the mean log factor of a family's tasks: whole families err more or less than laws expect."""
TASK_SD = 0.3
"""Standard deviation of log factors between the tasks of one family. With the family's, a single task's prior is .5 wide."""
ELSEWHERE = 0.5
"""Power of another task's likelihood: all tasks are measured on the same runs, so their errors are not independent."""
LARGEST_FACTOR = 10.0
"""The factor is sought between 1 / 10 and 10: four prior standard deviations of a task either way."""
GRID = np.linspace(-np.log(LARGEST_FACTOR), np.log(LARGEST_FACTOR), 61)


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Variances of K forecasts: the part that calibration scales, and the part that no law could change."""

    model: FloatArray
    """(K,) variance of the law: its bootstrap, the disagreement between laws, the reach of the extrapolation."""
    noise: FloatArray
    """(K,) variance of the measurement that is forecast."""

    def scale(self, factor: float) -> FloatArray:
        """(K,) sqrt(factor^2 model + noise)."""
        result: FloatArray = np.sqrt(factor**2 * self.model + self.noise)
        return result


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Errors that one back-test origin made, with the spread it stated; K held-out runs."""

    error: FloatArray
    """(K,) measured minus forecast; NaN where there is no forecast."""
    spread: Spread
    share: float
    """Runs fitted at this origin, of all runs."""


def worth(share: float) -> float:
    """Weight of an origin, in observations: a fit on few of the runs is unlike the forecast and counts for less.

    >>> worth(0.5)
    0.25
    """
    return share**2


def posterior_factor(evidence: Sequence[Evidence], elsewhere: Sequence[Sequence[Evidence]] = ()) -> float:
    """Factor k on the model part of a task's spread: exp of the posterior mean of log k.

    log k ~ Normal(m, 0.3) over the tasks of a family, m ~ Normal(0, 0.4) over families; error / scale(k) ~ Student's t with 5
    degrees of freedom. The errors of one origin are one law's, so they count as one observation (their mean log density),
    times the origin's worth; another task's likelihood counts half. Where noise explains the errors the likelihood is flat
    and k stays at 1.

    Args:
        evidence: from the task's own back-tests.
        elsewhere: the same from the family's other tasks, one entry per task.

    >>> posterior_factor([])
    1.0
    """
    # Row m: the density of a task's log k in a family whose mean is m.
    between = _normal(GRID[:, None] - GRID[None, :], TASK_SD)
    between /= between.sum(axis=1, keepdims=True)
    log_mean = -0.5 * np.square(GRID / FAMILY_SD)
    for other in elsewhere:
        # The other task's own log k is integrated out; 1e-300 because a likelihood may underflow to 0.
        log_mean = log_mean + ELSEWHERE * np.log(np.maximum(between @ _likelihood(other), 1e-300))
    mean = np.exp(log_mean - log_mean.max())
    # The family's posterior, widened by the spread between its tasks, is this task's prior.
    density = (mean @ between) * _likelihood(evidence)
    return float(np.exp(np.sum(density * GRID) / np.sum(density)))


def _likelihood(evidence: Sequence[Evidence]) -> FloatArray:
    """(61,) likelihood of log k on the grid, at most 1."""
    log_density = np.zeros(GRID.size)
    for origin in evidence:
        known = np.isfinite(origin.error)
        if not known.any():
            continue
        model, noise = origin.spread.model[known], origin.spread.noise[known]
        variance = np.maximum(np.exp(2.0 * GRID)[:, None] * model + noise, 1e-18)
        squared = np.square(origin.error[known]) / variance
        log_t = -0.5 * (DEGREES + 1.0) * np.log1p(squared / DEGREES) - 0.5 * np.log(variance)
        # A mean, not a sum: all errors of one origin come from one fit and move together.
        log_density = log_density + worth(origin.share) * log_t.mean(axis=1)
    likelihood: FloatArray = np.exp(log_density - log_density.max())
    return likelihood


def _normal(x: FloatArray, sd: float) -> FloatArray:
    result: FloatArray = np.exp(-0.5 * np.square(x / sd))
    return result
