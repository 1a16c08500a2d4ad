"""How sure step 1 is: the spread of a forecast NLL, in logarithms, scaled by what back-tests inside the runs say."""

from __future__ import annotations

import numpy as np

from forecast.forecasting.calibration import Evidence, Spread
from forecast.forecasting.method import Fitted
from forecast.forecasting.rolling_origin import points_of
from forecast.forecasting.sample import IntArray, Points, Sample

ABSORBED = 3.0
"""Rows whose scatter the law absorbs: one for each of its parameters."""


def log_spread(fitted: Fitted, sample: Sample, points: Points) -> Spread | None:
    """Variances of log NLL at the points: bootstrap^2 n / (n - 3) of the law, scatter^2 n / (n - 3) of a run.

    scatter is the weighted root mean square of log(measured / fitted) over the n effective rows; more runs do not average it
    away, because the target departs from the law as the runs do. n / (n - 3): the law's three parameters absorb the scatter
    of three rows, and the bootstrap draws from the rest. None where the method has no NLL step.
    """
    values, own = fitted.nll(points), fitted.nll(sample.points)
    if fitted.nll_metric is None or values is None or own is None:
        return None
    measured = sample.nll[fitted.nll_metric][0]
    known = np.isfinite(measured) & (measured > 0) & (own[0] > 0)
    if not known.any():
        return None
    weight = sample.weight[0][known]
    residual = np.log(measured[known] / own[0][known])
    rows = float(np.sum(weight)) ** 2 / float(np.sum(np.square(weight)))
    scatter = float(np.sum(weight * np.square(residual)) / np.sum(weight))
    small = rows / max(rows - ABSORBED, 1.0)
    model = np.nanvar(np.log(values), axis=0) * small
    return Spread(model=model, noise=np.full_like(model, scatter * small))


def log_evidence(fitted: Fitted, window: Sample, sample: Sample, held: IntArray) -> Evidence | None:
    """Errors log(measured / forecast) over held-out rows, with the spread stated for them; None without an NLL step.

    Args:
        fitted: method, fitted to `window`.
        window: the runs up to the origin.
        sample: all runs.
        held: rows of `sample` to score.
    """
    points = points_of(sample, held)
    spread, values = log_spread(fitted, window, points), fitted.nll(points)
    if fitted.nll_metric is None or spread is None or values is None:
        return None
    measured = sample.nll[fitted.nll_metric][0][held]
    known = np.isfinite(measured) & (measured > 0) & (values[0] > 0)
    error = np.full(held.size, np.nan)
    error[known] = np.log(measured[known] / values[0][known])
    return Evidence(error=error, spread=spread, share=window.n_runs / sample.n_runs)
