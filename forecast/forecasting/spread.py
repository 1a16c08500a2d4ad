"""How wide a forecast is before its back-tests are consulted: from bootstrap, members, data and the gain."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from forecast.core.observations import FloatArray
from forecast.forecasting.calibration import Spread
from forecast.forecasting.ensemble import Ensemble
from forecast.forecasting.rolling_origin import distance, run_ends
from forecast.forecasting.sample import Points, Sample

BOOTSTRAP = 0.5
"""Share of the ensemble's bootstrap variance that is used: reweighted runs move a curve more than new runs would."""
GAIN = 0.2
"""A law's own error, as a share of what it forecasts beyond the runs: all members may share one wrong ceiling."""
PER_LOG_FLOPS = 3e-6
"""Least variance of a law, per unit of log C beyond the runs: laws that agree and fit perfectly may all be wrong."""
FURTHEST = 3.0
"""Most that distance scales a law's error by. The factor is the distance beyond the largest run over the span of the runs,
in log C; it stays at 1 until the target is further away than the runs span."""
SAMPLING = 0.8
"""Share of the target's sampling variance that counts as error: the rest it shares with the runs, through the same items."""
LEAST_VARIANCE = 0.01
"""Least variance p (1 - p) of a single answer: a forecast of 0 or 1 is not certain."""


def spread_of(
    ensemble: Ensemble,
    sample: Sample,
    points: Points,
    by_member: Mapping[str, FloatArray],
    at_runs: Mapping[str, FloatArray] | None = None,
) -> Spread:
    """Variances before calibration.

    model = f^2 (disagreement^2 + .5 bootstrap^2 + misfit^2 + (gain / 5)^2 + 3e-6 ln(C / C_max)), noise = .8 p (1 - p) / items.
    The first two are the law of total variance over members and replicates; misfit^2 is the mean square that even the
    best-fitting member leaves at the runs, beyond sampling variance; gain is the forecast minus the law at the largest run,
    past that run; f = ln(C / C_max) / ln(C_max / C_min), clipped to 1 to 3.
    """
    predictions = ensemble.combine(by_member)
    last = run_ends(sample)[-1]
    at_runs = ensemble.by_member(sample.points) if at_runs is None else at_runs
    beyond = distance(points, sample)
    # Only beyond the largest run is there a gain that no measurement confirms.
    gain = np.where(beyond > 0, predictions[0] - ensemble.combine(at_runs)[0, last], 0.0)
    at_end = sample.accuracy[0][last]
    # The sample keeps sampling errors, not numbers of items: p (1 - p) / sd^2 gives these back.
    items = max(at_end * (1 - at_end), LEAST_VARIANCE) / sample.sampling_sd[last] ** 2
    model = (
        np.square(ensemble.disagreement(by_member))
        + BOOTSTRAP * _variance(predictions)
        + _misfit(sample, at_runs)
        + np.square(GAIN * gain)
        + PER_LOG_FLOPS * beyond
    )
    far = np.clip(beyond / max(float(np.ptp(sample.log_flops)), 1e-9), 1.0, FURTHEST)
    return Spread(
        model=np.square(far) * model,
        noise=SAMPLING * np.clip(predictions[0] * (1 - predictions[0]), LEAST_VARIANCE, None) / items,
    )


def _variance(predictions: FloatArray) -> FloatArray:
    """(K,) variance over the replicates that have a number: those whose fits did not converge have none."""
    known = np.isfinite(predictions)
    with np.errstate(invalid="ignore", divide="ignore"):
        count = known.sum(axis=0)
        mean = np.where(known, predictions, 0.0).sum(axis=0) / count
        result: FloatArray = np.where(known, np.square(predictions - mean), 0.0).sum(axis=0) / count
    return result


def _misfit(sample: Sample, at_runs: Mapping[str, FloatArray]) -> float:
    left_over = np.array([sample.left_over(values[0]) for values in at_runs.values()])
    known = left_over[np.isfinite(left_over)]
    return max(0.0, float(known.min()) - sample.sampling_variance) if known.size else 0.0
