"""The curves behind a forecast, with their bands, for drawing."""

from __future__ import annotations

import numpy as np

from forecast.core.forecasts import Curve, ForecastCurves, IntervalEstimate, Target
from forecast.core.metrics import BY_NAME
from forecast.core.observations import FloatArray, Ladder
from forecast.forecasting.calibration import DEGREES
from forecast.forecasting.nll_interval import log_spread
from forecast.forecasting.predictive import Predictive, calibrate_nll, distributions_at, quantiles_of
from forecast.forecasting.preparation import Prepared
from forecast.forecasting.sample import Points, Sample
from forecast.forecasting.targets import complete_target, target_points

CURVE_POINTS = 300
"""Points of a curve: enough to show the bends that some members have at the runs."""
BAND_POINTS = 100
"""Points of the curve with the forecast's bands: each is a mixture."""
BANDS = (0.5, 0.8, 0.9)


def shown_member(predictive: Predictive, sample: Sample) -> str | None:
    """Return the member whose NLL step is shown: one on the sample's own measure, or else the plain two-step.

    Where there is neither, the one that weighs most.
    """
    weights, members = predictive.ensemble.weights, predictive.ensemble.members
    having = [name for name, fitted in members.items() if fitted.nll_metric is not None]
    own = sample.nll_metric
    return max(
        having,
        key=lambda name: (own is not None and members[name].nll_metric == own, name == "two-step", weights[name]),
        default=None,
    )


def nll_estimate(predictive: Predictive, sample: Sample, points: Points, level: float) -> IntervalEstimate | None:
    """Step 1 at one point: Student's t in log NLL, its scale from bootstrap, scatter and back-tests (`nll_interval`).

    None without such a step, or where it leaves the metric's range.
    """
    name = shown_member(predictive, sample)
    if name is None:
        return None
    shown = predictive.ensemble.members[name]
    values, spread = shown.nll(points), _log_spread(predictive, name, sample, points)
    if shown.nll_metric is None or values is None or spread is None or not np.isfinite(values[0, 0]):
        return None
    point, half, metric = float(values[0, 0]), float(spread[0]) * _t((1 + level) / 2), BY_NAME[shown.nll_metric]
    if not metric.low <= point <= metric.high:
        return None
    with np.errstate(over="ignore"):  # An end beyond what the metric can be is drawn back to it.
        hi = min(point * float(np.exp(half)), metric.high)
    return IntervalEstimate(metric=metric.name, point=point, lo=point * float(np.exp(-half)), hi=hi)


def _log_spread(predictive: Predictive, name: str, sample: Sample, points: Points) -> FloatArray | None:
    spread = log_spread(predictive.ensemble.members[name], sample, points)
    return None if spread is None else spread.scale(calibrate_nll(predictive.origins, name))


def _t(probability: float) -> float:
    from scipy import stats

    return float(stats.t.ppf(probability, DEGREES))


def draw_curves(prepared: Prepared, ladder: Ladder, predictive: Predictive, target: Target) -> ForecastCurves:
    """Evaluate both steps and their composition from the smallest fitted checkpoint to the target.

    Between runs and target N and D follow the tokens per parameter of the target, where they are known.
    """
    sample = prepared.sample
    assert target.flops is not None
    top = max(float(sample.log_flops.max()), float(np.log(target.flops)))
    # A row of the sample may stand for several checkpoints: the smallest of them lies below the first row.
    x = np.linspace(np.log(prepared.min_flops), top, CURVE_POINTS)
    points = _path(x, ladder, target)
    accuracy = _banded(np.linspace(x[0], top, BAND_POINTS), ladder, sample, predictive, target)
    name = shown_member(predictive, sample)
    shown = None if name is None else predictive.ensemble.members[name]
    values = None if shown is None else shown.nll(points)
    spread = None if name is None else _log_spread(predictive, name, sample, points)
    if shown is None or values is None or spread is None:
        return ForecastCurves(nll_of_flops=None, accuracy_of_nll=None, accuracy_of_flops=accuracy)
    at_runs = sample.nll.get(shown.nll_metric or "")
    reached = values[0] if at_runs is None else np.concatenate([values[0], at_runs[0]])
    grid = np.linspace(float(np.nanmin(reached)), float(np.nanmax(reached)), CURVE_POINTS)
    steps = shown.accuracy_of_nll(grid)
    return ForecastCurves(
        nll_of_flops=Curve(x=np.exp(x), y=values[0], bands=_in_logs(values[0], spread)),
        accuracy_of_nll=None if steps is None else Curve(x=grid, y=steps[0], bands=_spread(steps)),
        accuracy_of_flops=accuracy,
    )


def _banded(x: FloatArray, ladder: Ladder, sample: Sample, predictive: Predictive, target: Target) -> Curve:
    points = _path(x, ladder, target)
    by_member = predictive.ensemble.by_member(points)
    expected = distributions_at(
        predictive.ensemble, sample, points, by_member, calibration=predictive.calibration, mixed=predictive.blend
    )
    bands = {b: (quantiles_of(expected, (1 - b) / 2), quantiles_of(expected, (1 + b) / 2)) for b in BANDS}
    return Curve(x=np.exp(x), y=quantiles_of(expected, 0.5), bands=bands)


def _path(x: FloatArray, ladder: Ladder, target: Target) -> Points:
    if target.params is None or target.tokens is None or target.flops is None:
        return target_points([complete_target(Target(name="", flops=float(np.exp(c))), ladder)[0] for c in x])
    half = (x - np.log(target.flops)) / 2.0
    return Points(log_flops=x, log_params=np.log(target.params) + half, log_tokens=np.log(target.tokens) + half)


def _in_logs(center: FloatArray, spread: FloatArray) -> dict[float, tuple[FloatArray, FloatArray]]:
    halves = {b: spread * _t((1 + b) / 2) for b in BANDS}
    return {b: (center * np.exp(-half), center * np.exp(half)) for b, half in halves.items()}


def _spread(draws: FloatArray) -> dict[float, tuple[FloatArray, FloatArray]]:
    return {b: (np.nanquantile(draws, (1 - b) / 2, axis=0), np.nanquantile(draws, (1 + b) / 2, axis=0)) for b in BANDS}
