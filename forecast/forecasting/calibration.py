"""How far to believe a stated spread: a posterior for the factor on its model part, from back-test errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecast.core.observations import FloatArray

DEGREES = 5.0
"""Of Student's t: some benchmarks jump, so errors have heavy tails."""
LOG_FACTOR_SD = 0.5
"""Prior standard deviation of the logarithm of the factor: families err by 0.6 to 1.6 times what their laws expect."""
LARGEST_FACTOR = 10.0
GRID = np.linspace(-np.log(LARGEST_FACTOR), np.log(LARGEST_FACTOR), 61)


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Variances of K forecasts: what a factor scales, and what no better or worse law would change."""

    model: FloatArray
    """(K,) of the law: its bootstrap, the disagreement between laws, the reach of the extrapolation."""
    noise: FloatArray
    """(K,) of the measurement that is forecast."""

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
    """Observations that an origin counts for: fits on few of the runs are unlike the forecast.

    >>> worth(0.5)
    0.25
    """
    return share**2


def posterior_factor(evidence: Sequence[Evidence]) -> float:
    """Factor k on the model part of a spread: exp of the posterior mean of log k.

    log k ~ Normal(0, 0.5); error / scale(k) ~ Student's t with 5 degrees of freedom. The errors of one origin are one law's,
    so they count as one observation (their mean log density), times the origin's worth. Where noise explains the errors
    the likelihood is flat and k stays at 1.

    >>> posterior_factor([])
    1.0
    """
    log_density = -0.5 * np.square(GRID / LOG_FACTOR_SD)
    for origin in evidence:
        known = np.isfinite(origin.error)
        if not known.any():
            continue
        model, noise = origin.spread.model[known], origin.spread.noise[known]
        variance = np.maximum(np.exp(2.0 * GRID)[:, None] * model + noise, 1e-18)
        squared = np.square(origin.error[known]) / variance
        log_t = -0.5 * (DEGREES + 1.0) * np.log1p(squared / DEGREES) - 0.5 * np.log(variance)
        log_density = log_density + worth(origin.share) * log_t.mean(axis=1)
    density = np.exp(log_density - log_density.max())
    return float(np.exp(np.sum(density * GRID) / np.sum(density)))
