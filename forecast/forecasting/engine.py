"""Forecasts of one ladder: prepare, fit, back-test, combine, judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecast.core.errors import NotForecastableError, UsageError
from forecast.core.forecasts import BacktestSummary, FittedOn, Forecast, IntervalEstimate, Target
from forecast.core.observations import Ladder
from forecast.forecasting.calibration import Evidence
from forecast.forecasting.curves import draw_curves, nll_estimate
from forecast.forecasting.ensemble import member_names
from forecast.forecasting.predictive import Predictive, predict_points
from forecast.forecasting.preparation import Prepared, choose_metric, prepare
from forecast.forecasting.registry import get_method
from forecast.forecasting.rehearsal import Rehearsal, rehearse
from forecast.forecasting.request import AUTO, ForecastRequest
from forecast.forecasting.rolling_origin import distance
from forecast.forecasting.targets import complete_target, target_points
from forecast.forecasting.verdicts import judge

REPLICATES = 64
QUANTILES = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99)


@dataclass(frozen=True, kw_only=True)
class Rehearsed:
    """A ladder made ready for a forecast, with its back-tests."""

    ladder: Ladder
    prepared: Prepared
    method: str
    names: Sequence[str]
    """Members of the method that these runs suffice for."""
    targets: Sequence[tuple[Target, tuple[str, ...]]]
    """Completed targets, each with notes on how."""
    rehearsal: Rehearsal

    @property
    def evidence(self) -> Sequence[Evidence]:
        """What this task's back-tests say about stated spreads; the family's other tasks use it."""
        return self.rehearsal.evidence


def rehearse_ladder(ladder: Ladder, targets: Sequence[Target], request: ForecastRequest = AUTO) -> Rehearsed:
    """Prepare a ladder and back-test the method inside its own runs; errors as for `forecast_ladder`."""
    method = request.method
    prepared = prepare(ladder, metric=choose_metric(ladder, request.metric))
    names = member_names(prepared.sample, method)
    if method != "auto" and (reason := get_method(method).missing(prepared.sample)) is not None:
        raise UsageError(f"method '{method}' cannot be used here: {reason}", remedy="choose another method, or auto")
    completed = [complete_target(target, ladder) for target in targets]
    points = target_points([target for target, _ in completed])
    rehearsal = rehearse(prepared.sample, names, points, np.random.default_rng(request.seed))
    return Rehearsed(ladder=ladder, prepared=prepared, method=method, names=names, targets=completed, rehearsal=rehearsal)


def forecast_ladder(
    ladder: Ladder,
    targets: Sequence[Target],
    *,
    method: str = "auto",
    level: float = 0.9,
    seed: int = 0,
    metric: str | None = None,
    recipe_shift: float = 0.0,
) -> list[Forecast]:
    """Forecast the accuracy of every target on the ladder's task.

    Args:
        ladder: the runs to fit on; the targets' own rows must not be among them.
        targets: models by compute, or by parameters and tokens.
        method: `auto` or a name of `all_methods`.
        level: nominal coverage of the intervals, between 0 and 1.
        seed: of everything random.
        metric: accuracy metric; None takes the ladder's own, or else the first that was measured.
        recipe_shift: standard deviation, as a fraction, of what another recipe (data mix, annealing) may move the target
            by; 0 when it is trained as the runs were.

    Raises:
        UsageError: unknown method or metric, a level outside (0, 1), or a target that states too little.
        NotForecastableError: too few usable runs.
    """
    request = ForecastRequest(method=method, level=level, seed=seed, metric=metric, recipe_shift=recipe_shift)
    return forecast_rehearsed(rehearse_ladder(ladder, targets, request), request)


def forecast_rehearsed(
    rehearsed: Rehearsed, request: ForecastRequest = AUTO, *, elsewhere: Sequence[Sequence[Evidence]] = ()
) -> list[Forecast]:
    """Forecast like `forecast_ladder`, from a rehearsed ladder.

    Args:
        rehearsed: the ladder with its back-tests.
        request: the level, the seed and the recipe's shift.
        elsewhere: evidence of the family's other tasks, which share the scale of the interval's model part.

    Raises:
        NotForecastableError: the method needs parameters and tokens that a target lacks.
    """
    prepared = rehearsed.prepared
    points = target_points([target for target, _ in rehearsed.targets])
    predictive = predict_points(
        prepared.sample,
        points,
        rehearsed.names,
        replicates=REPLICATES,
        rng=np.random.default_rng([request.seed, 1]),
        rehearsal=rehearsed.rehearsal,
        elsewhere=elsewhere,
        recipe_shift=request.recipe_shift,
        with_curves=rehearsed.method == "auto",
    )
    if all(share == 1.0 for share in predictive.unsolved.values()):
        raise NotForecastableError(
            f"no fit of method '{rehearsed.method}' to these runs converged", remedy="choose another method, or check the runs"
        )
    if not np.isfinite(predictive.point).all():
        raise NotForecastableError(
            f"method '{rehearsed.method}' needs parameters and tokens of every target",
            remedy="give `params=` and `tokens=`, or use auto",
        )
    return [_one(rehearsed, predictive, k, request) for k in range(len(rehearsed.targets))]


def _one(rehearsed: Rehearsed, predictive: Predictive, k: int, request: ForecastRequest) -> Forecast:
    prepared, ladder = rehearsed.prepared, rehearsed.ladder
    level, recipe_shift = request.level, request.recipe_shift
    target, notes = rehearsed.targets[k]
    points = target_points([target])
    expected = predictive.at(k)
    below = max(0.0, float(prepared.sample.log_flops.min() - points.log_flops[0]))
    judgement = judge(prepared.sample, predictive, k, float(distance(points, prepared.sample)[0]), below=below)
    probabilities = sorted({*QUANTILES, (1 - level) / 2, (1 + level) / 2})
    quantiles = {p: expected.quantile(p) for p in probabilities}
    shift = (f"The interval allows for a change of recipe of {100 * recipe_shift:g} points.",) if recipe_shift > 0 else ()
    return Forecast(
        task=ladder.task,
        family=ladder.family,
        target=target,
        level=level,
        nll=nll_estimate(predictive, prepared.sample, points, level),
        accuracy=IntervalEstimate(
            metric=prepared.metric,
            point=expected.median,
            lo=quantiles[(1 - level) / 2],
            hi=quantiles[(1 + level) / 2],
        ),
        method=rehearsed.method,
        verdict=judgement.verdict,
        reasons=judgement.reasons,
        backtest=summarise(predictive, level),
        fitted_on=FittedOn(
            n_checkpoints=prepared.rows_used,
            n_runs=len(prepared.runs),
            min_flops=prepared.min_flops,
            max_flops=prepared.max_flops,
        ),
        warnings=prepared.warnings + notes + shift + _unsolved(predictive),
        quantiles=quantiles,
        distribution=expected,
        curves=draw_curves(prepared, ladder, predictive, target),
        num_fewshot=ladder.num_fewshot,
        chance=ladder.chance if np.isfinite(ladder.chance) else None,
    )


def _unsolved(predictive: Predictive) -> tuple[str, ...]:
    return tuple(
        f"{share:.0%} of the fits of '{name}' did not converge and are left out."
        for name, share in predictive.unsolved.items()
        if share > 0
    )


def summarise(predictive: Predictive, level: float) -> BacktestSummary:
    """Errors over the origins; an origin's intervals are calibrated by the task's other origins and by the other tasks."""
    origins = predictive.origins
    other_tasks = sum(1 for evidence in predictive.elsewhere if evidence)
    if not origins:
        return BacktestSummary(origins=0, mae=None, persistence_mae=None, coverage=None, other_tasks=other_tasks)
    covered, errors = [], []
    for origin, expected in zip(origins, predictive.rehearsed, strict=True):
        held = [(truth, found) for truth, found in zip(origin.truth, expected, strict=True) if found is not None]
        covered.append(float(np.mean([found.holds(truth, level) for truth, found in held])))
        errors.append(float(np.mean([abs(found.median - truth) for truth, found in held])))
    return BacktestSummary(
        origins=len(origins),
        mae=float(np.mean(errors)),
        persistence_mae=float(np.mean([np.mean(np.abs(o.persistence - o.truth)) for o in origins])),
        coverage=float(np.mean(covered)),
        other_tasks=other_tasks,
    )
