"""The curves behind a forecast, with their bands, for drawing."""

from __future__ import annotations

import numpy as np

from forecast.core.forecasts import Curve, ForecastCurves, IntervalEstimate, Target
from forecast.core.observations import FloatArray, Ladder
from forecast.forecasting.method import Fitted
from forecast.forecasting.predictive import Predictive, quantile, raw_scale
from forecast.forecasting.preparation import Prepared
from forecast.forecasting.sample import Points
from forecast.forecasting.targets import complete_target, target_points

CURVE_POINTS = 60
BANDS = (0.5, 0.8, 0.9)


def shown_member(predictive: Predictive) -> Fitted | None:
    """Return the member whose NLL step is shown: the one with the largest weight that has such a step."""
    weights = predictive.ensemble.weights
    having = [name for name, fitted in predictive.ensemble.members.items() if fitted.nll_metric is not None]
    if not having:
        return None
    return predictive.ensemble.members[max(having, key=lambda name: weights[name])]


def nll_estimate(predictive: Predictive, points: Points, level: float) -> IntervalEstimate | None:
    """Step 1 at one point: bootstrap spread, scaled by the same calibration as the accuracy."""
    shown = shown_member(predictive)
    values = None if shown is None else shown.nll(points)
    if shown is None or shown.nll_metric is None or values is None or not np.isfinite(values[0, 0]):
        return None
    point = float(values[0, 0])
    low, high = np.nanquantile(values[:, 0] - point, [(1 - level) / 2, (1 + level) / 2])
    factor = max(1.0, predictive.calibration)
    return IntervalEstimate(
        metric=shown.nll_metric, point=point, lo=min(point, point + factor * low), hi=max(point, point + factor * high)
    )


def draw_curves(prepared: Prepared, ladder: Ladder, predictive: Predictive, target: Target) -> ForecastCurves:
    """Evaluate both steps and their composition from the smallest run to the target.

    Between runs and target N and D follow the tokens per parameter of the target, where they are known.
    """
    sample = prepared.sample
    assert target.flops is not None
    top = max(float(sample.log_flops.max()), float(np.log(target.flops)))
    x = np.linspace(float(sample.log_flops.min()), top, CURVE_POINTS)
    points = _path(x, ladder, target)
    by_member = predictive.ensemble.by_member(points)
    center = predictive.ensemble.combine(by_member)[0]
    scale = predictive.calibration * raw_scale(predictive.ensemble, sample, points, by_member)
    bands = {b: (quantile(center, scale, (1 - b) / 2), quantile(center, scale, (1 + b) / 2)) for b in BANDS}
    accuracy = Curve(x=np.exp(x), y=center, bands=bands)
    shown = shown_member(predictive)
    values = None if shown is None else shown.nll(points)
    if shown is None or values is None:
        return ForecastCurves(nll_of_flops=None, accuracy_of_nll=None, accuracy_of_flops=accuracy)
    grid = np.linspace(float(np.nanmin(values[0])), float(np.nanmax(values[0])), CURVE_POINTS)
    steps = shown.accuracy_of_nll(grid)
    return ForecastCurves(
        nll_of_flops=Curve(x=np.exp(x), y=values[0], bands=_spread(values)),
        accuracy_of_nll=None if steps is None else Curve(x=grid, y=steps[0], bands=_spread(steps)),
        accuracy_of_flops=accuracy,
    )


def _path(x: FloatArray, ladder: Ladder, target: Target) -> Points:
    if target.params is None or target.tokens is None or target.flops is None:
        return target_points([complete_target(Target(name="", flops=float(np.exp(c))), ladder)[0] for c in x])
    half = (x - np.log(target.flops)) / 2.0
    return Points(log_flops=x, log_params=np.log(target.params) + half, log_tokens=np.log(target.tokens) + half)


def _spread(draws: FloatArray) -> dict[float, tuple[FloatArray, FloatArray]]:
    return {b: (np.nanquantile(draws, (1 - b) / 2, axis=0), np.nanquantile(draws, (1 + b) / 2, axis=0)) for b in BANDS}
