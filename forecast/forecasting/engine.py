"""Forecasts of one ladder: fit, resample, combine, and say how sure that is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from forecast.core.errors import UsageError
from forecast.core.forecasts import (
    BacktestSummary,
    Curve,
    FittedOn,
    Forecast,
    ForecastCurves,
    IntervalEstimate,
    Target,
    Verdict,
)
from forecast.core.observations import FloatArray, Ladder
from forecast.forecasting.method import Fitted
from forecast.forecasting.preparation import Prepared, choose_metric, prepare
from forecast.forecasting.registry import all_methods, get_method
from forecast.forecasting.sample import Points
from forecast.forecasting.targets import complete_target, target_points

REPLICATES = 100
CURVE_POINTS = 60
BANDS = (0.5, 0.8, 0.9)
QUANTILES = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99)
DEFAULT_MEMBERS = ("two-step", "two-step-choice", "two-step-loss", "direct", "direct-nd", "two-step-nd")


def forecast_ladder(
    ladder: Ladder,
    targets: Sequence[Target],
    *,
    method: str = "auto",
    level: float = 0.9,
    seed: int = 0,
    metric: str | None = None,
) -> list[Forecast]:
    """Forecast the accuracy of every target on the ladder's task.

    Args:
        ladder: the runs to fit on; the targets' own rows must not be among them.
        targets: models by compute, or by parameters and tokens.
        method: `auto` or a name of `all_methods`.
        level: nominal coverage of the intervals, between 0 and 1.
        seed: of everything random.
        metric: accuracy metric; None takes the first that was measured.

    Raises:
        UsageError: unknown method or metric, or a target that states too little.
        NotForecastableError: too few usable runs.
    """
    if not 0.0 < level < 1.0:
        raise UsageError(f"level is {level}", expected="a number between 0 and 1, e.g. 0.9")
    rng = np.random.default_rng(seed)
    name = choose_metric(ladder, metric)
    prepared = prepare(ladder, metric=name, replicates=REPLICATES, rng=rng)
    completed = [complete_target(target, ladder) for target in targets]
    fits = _fit(prepared, method)
    return [_one(prepared, ladder, fits, target, notes, method, level, rng) for target, notes in completed]


def _fit(prepared: Prepared, method: str) -> dict[str, Fitted]:
    if method != "auto":
        chosen = get_method(method)
        reason = chosen.missing(prepared.sample)
        if reason is not None:
            raise UsageError(f"method '{method}' cannot be used here: {reason}", remedy="choose another method, or auto")
        return {method: chosen.fit(prepared.sample)}
    usable = {name: m for name, m in all_methods().items() if name in DEFAULT_MEMBERS and m.missing(prepared.sample) is None}
    return {name: m.fit(prepared.sample) for name, m in usable.items()}


def _one(
    prepared: Prepared,
    ladder: Ladder,
    fits: dict[str, Fitted],
    target: Target,
    notes: tuple[str, ...],
    method: str,
    level: float,
    rng: np.random.Generator,
) -> Forecast:
    sample = prepared.sample
    points = target_points([target])
    members = {name: fit for name, fit in fits.items() if np.isfinite(fit.accuracy(points)).all()}
    draws = np.stack([np.clip(fit.accuracy(points)[:, 0], 0, 1) for fit in members.values()], axis=1)
    point = float(draws[0].mean())
    own = np.stack(
        [
            fit.accuracy(Points(log_flops=sample.log_flops, log_params=sample.log_params, log_tokens=sample.log_tokens))[0]
            for fit in members.values()
        ]
    ).mean(axis=0)
    scatter = float(np.sqrt(np.mean(np.square(own - sample.accuracy[0]))))
    distance = max(0.0, float(points.log_flops[0] - sample.log_flops.max()))
    noise = np.hypot(scatter, 0.01 * np.sqrt(distance))
    spread = np.clip(draws.ravel() + noise * rng.standard_normal(draws.size), 0, 1)
    spread += point - np.median(spread)
    probabilities = sorted({*QUANTILES, (1 - level) / 2, (1 + level) / 2})
    quantiles = {p: float(np.clip(np.quantile(spread, p), 0, 1)) for p in probabilities}
    lo, hi = quantiles[(1 - level) / 2], quantiles[(1 + level) / 2]
    nll = None
    shown = next((fit for fit in members.values() if fit.nll_metric is not None), None)
    if shown is not None and shown.nll_metric is not None:
        values = shown.nll(points)
        assert values is not None
        nll = IntervalEstimate(
            metric=shown.nll_metric,
            point=float(values[0, 0]),
            lo=float(np.quantile(values[:, 0], (1 - level) / 2)),
            hi=float(np.quantile(values[:, 0], (1 + level) / 2)),
        )
    return Forecast(
        task=ladder.task,
        family=ladder.family,
        target=target,
        level=level,
        nll=nll,
        accuracy=IntervalEstimate(metric=prepared.metric, point=point, lo=lo, hi=hi),
        method=method,
        verdict=Verdict.UNCERTAIN,
        reasons=(),
        backtest=BacktestSummary(origins=0, mae=None, persistence_mae=None, coverage=None),
        fitted_on=FittedOn(
            n_checkpoints=prepared.rows_used,
            n_runs=len(prepared.runs),
            min_flops=prepared.min_flops,
            max_flops=prepared.max_flops,
        ),
        warnings=prepared.warnings + notes,
        quantiles=quantiles,
        curves=_curves(prepared, ladder, members, shown, target),
    )


def _curves(
    prepared: Prepared, ladder: Ladder, members: dict[str, Fitted], shown: Fitted | None, target: Target
) -> ForecastCurves:
    sample = prepared.sample
    assert target.flops is not None
    top = max(float(sample.log_flops.max()), float(np.log(target.flops)))
    x = np.linspace(float(sample.log_flops.min()), top, CURVE_POINTS)
    on_path = [complete_target(Target(name="", flops=float(np.exp(c))), ladder)[0] for c in x]
    points = target_points(on_path)
    draws = np.concatenate([fit.accuracy(points) for fit in members.values()])
    center = np.stack([fit.accuracy(points)[0] for fit in members.values()]).mean(axis=0)
    nll_curve = second = None
    if shown is not None:
        values = shown.nll(points)
        assert values is not None
        nll_curve = Curve(x=np.exp(x), y=values[0], bands=_bands(values))
        grid = np.linspace(float(values[0].min()), float(values[0].max()), CURVE_POINTS)
        steps = shown.accuracy_of_nll(grid)
        if steps is not None:
            second = Curve(x=grid, y=steps[0], bands=_bands(steps))
    return ForecastCurves(
        nll_of_flops=nll_curve,
        accuracy_of_nll=second,
        accuracy_of_flops=Curve(x=np.exp(x), y=center, bands=_bands(draws)),
    )


def _bands(draws: FloatArray) -> dict[float, tuple[FloatArray, FloatArray]]:
    return {b: (np.quantile(draws, (1 - b) / 2, axis=0), np.quantile(draws, (1 + b) / 2, axis=0)) for b in BANDS}
