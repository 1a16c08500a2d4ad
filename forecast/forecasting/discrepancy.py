"""A law's residuals near the largest runs, extended a little beyond them by a Gaussian process."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecast.core.observations import FloatArray
from forecast.forecasting.sample import Points, Sample

AMPLITUDE = 0.015
"""Standard deviation of a law's error in accuracy, far from any data."""
LENGTH = 1.5
"""Correlation length of that error in log C: a factor of 4 in compute."""
FRESH_NOISE = 0.005
"""Scatter of a run's accuracy on top of sampling error."""


@dataclass(frozen=True, kw_only=True)
class Discrepancy:
    """delta(C) = k(C, X) (K + S)^-1 r, k exponential (Kennedy & O'Hagan 2001, doi:10.1111/1467-9868.00294)."""

    at: FloatArray
    """(M,) log C of the rows."""
    loading: FloatArray
    """(B, M)."""

    def value(self, points: Points) -> FloatArray:
        """(B, K) correction in accuracy; it fades with the distance from the runs."""
        kernel = np.exp(-np.abs(self.at[:, None] - points.log_flops[None, :]) / LENGTH)
        result: FloatArray = AMPLITUDE**2 * (self.loading @ kernel)
        return result


def fit_discrepancy(sample: Sample, fitted: FloatArray) -> Discrepancy:
    """Condition on the residuals of every replicate.

    Args:
        sample: M rows, B replicates.
        fitted: (B, M) accuracies of the law at the rows.
    """
    x = sample.log_flops
    kernel = AMPLITUDE**2 * np.exp(-np.abs(x[:, None] - x[None, :]) / LENGTH)
    noise = (np.square(sample.sampling_sd) + FRESH_NOISE**2) / np.maximum(sample.weight[0], 1e-3)
    loading: FloatArray = np.linalg.solve(kernel + np.diag(noise), (sample.accuracy - fitted).T).T.astype(np.float64)
    return Discrepancy(at=x, loading=loading)
