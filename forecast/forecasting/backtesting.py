"""How wrong would each method have been: the whole forecast repeated at every origin inside a ladder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecast.core.errors import NotForecastableError
from forecast.core.observations import FloatArray, Ladder
from forecast.core.progress import Progress, SilentProgress
from forecast.forecasting.calibration import Evidence
from forecast.forecasting.ensemble import member_names
from forecast.forecasting.predictive import predict_points
from forecast.forecasting.preparation import Prepared, choose_metric, prepare
from forecast.forecasting.registry import all_methods, get_method
from forecast.forecasting.rehearsal import Rehearsal, rehearse
from forecast.forecasting.rolling_origin import SAME_COMPUTE, Origin, distance, points_of, rolling_origins
from forecast.forecasting.sample import Points, Sample
from forecast.forecasting.verdicts import LARGE_ERROR, judge

LEVELS = (0.5, 0.8, 0.9, 0.95)
ORIGINS = 6
REPLICATES = 24
INNER_ORIGINS = 3
"""Origins inside each window that scale its intervals: fewer than a forecast has, so that a back-test stays quick."""


@dataclass(frozen=True, kw_only=True)
class BacktestRecord:
    """One method's forecast from one origin of one held-out run. Accuracies are fractions."""

    family: str
    task: str
    metric: str
    method: str
    origin_flops: float
    """Compute of the largest run that was fitted."""
    runs_fitted: int
    model: str
    flops: float
    extrapolation: float
    """Target's compute over the largest fitted run's."""
    truth: float
    point: float
    covered: tuple[bool, ...]
    """Whether the truth lies in the interval, at each of LEVELS."""
    width: tuple[float, ...]
    """Width of the interval at each of LEVELS."""
    crps: float
    """Continuous ranked probability score, in accuracy."""
    verdict: str
    risk: float
    """Forecast probability of an error above five points."""
    num_fewshot: int | None = None
    """Solved examples in the prompt; None when unknown."""
    chance: float | None = None
    """Accuracy of guessing; None when unknown."""

    @property
    def error(self) -> float:
        """Forecast minus truth."""
        return self.point - self.truth


@dataclass(frozen=True, kw_only=True)
class MethodScore:
    """A method's records summed up. Errors are in accuracy as fractions."""

    method: str
    forecasts: int
    mae: float
    bias: float
    mae_common: float
    """Over the forecasts that every method made."""
    coverage: tuple[float, ...]
    width: tuple[float, ...]
    crps: float


def backtest_ladders(
    ladders: Sequence[Ladder],
    *,
    methods: Sequence[str] | None = None,
    seed: int = 0,
    metric: str | None = None,
    progress: Progress | None = None,
) -> tuple[list[BacktestRecord], dict[str, NotForecastableError]]:
    """Repeat the forecast at rolling origins over compute, with every method that these runs suffice for.

    Args:
        ladders: one family on one or more tasks. The tasks of the call share the scale of their intervals: at each origin
            by back-tests on runs up to the same compute.
        methods: names; None takes `auto` and every method.
        seed: of everything random.
        metric: accuracy metric; None takes the ladder's own, or else the first measured.
        progress: where the bar goes; one unit per task, origin and method.

    Returns:
        The records, and for each task that cannot be back-tested why: fewer than three runs, or no origin can be scored.

    Raises:
        UsageError: unknown method or metric.
    """
    names = list(methods) if methods is not None else ["auto", *all_methods()]
    for name in names:
        if name != "auto":
            get_method(name)
    tasks: list[_Task] = []
    failed: dict[str, NotForecastableError] = {}
    for ladder in ladders:
        try:
            tasks.append(_prepare(ladder, metric))
        except NotForecastableError as error:
            failed[ladder.task] = error
    records: list[BacktestRecord] = []
    bar = progress or SilentProgress()
    with bar.stage("back-testing", sum(len(task.origins) for task in tasks) * len(names), "fits") as stage:
        for name in names:
            stage.describe(name)
            places = []
            for task in tasks:
                for origin in task.origins:
                    stage.advance()
                    place = _rehearse_at(task, origin, name, seed)
                    if place is not None:
                        places.append(place)
            for place in places:
                elsewhere = [
                    other.rehearsal.evidence for other in places if other.task is not place.task and other.beside(place)
                ]
                records += _score(place, name, elsewhere, seed)
    order = {task.ladder.task: place for place, task in enumerate(tasks)}
    return sorted(records, key=lambda record: order[record.task]), failed


@dataclass(frozen=True, kw_only=True)
class _Task:
    ladder: Ladder
    prepared: Prepared
    origins: Sequence[Origin]

    def split(self, origin: Origin) -> tuple[Sample, Points]:
        """The runs up to an origin, and where the larger ones end."""
        sample = self.prepared.sample
        return sample.rows(origin.fitted), points_of(sample, origin.held)


@dataclass(frozen=True, kw_only=True)
class _Place:
    """One task at one origin, rehearsed inside its window."""

    task: _Task
    origin: Origin
    names: Sequence[str]
    rehearsal: Rehearsal

    def beside(self, other: _Place) -> bool:
        """Whether both end at the same compute, so that neither sees runs that are hidden from the other."""
        return abs(self.origin.log_flops - other.origin.log_flops) < SAME_COMPUTE


def _prepare(ladder: Ladder, metric: str | None) -> _Task:
    prepared = prepare(ladder, metric=choose_metric(ladder, metric))
    origins = rolling_origins(prepared.sample, at_most=ORIGINS)
    if not origins:
        raise NotForecastableError(
            f"{ladder.family} on {ladder.task} has {len(prepared.runs)} runs, too few to hide one and fit the rest",
            expected="at least three runs of different compute",
        )
    return _Task(ladder=ladder, prepared=prepared, origins=origins)


def _rehearse_at(task: _Task, origin: Origin, method: str, seed: int) -> _Place | None:
    window, points = task.split(origin)
    if method != "auto" and get_method(method).missing(window) is not None:
        return None
    names = member_names(window, method)
    rehearsal = rehearse(window, names, points, np.random.default_rng(seed), at_most=INNER_ORIGINS)
    return _Place(task=task, origin=origin, names=names, rehearsal=rehearsal)


def _score(place: _Place, method: str, elsewhere: Sequence[Sequence[Evidence]], seed: int) -> list[BacktestRecord]:
    """Records of all held-out runs at one place."""
    task, sample = place.task, place.task.prepared.sample
    window, points = task.split(place.origin)
    predictive = predict_points(
        window,
        points,
        place.names,
        replicates=REPLICATES,
        rng=np.random.default_rng([seed, 1]),
        rehearsal=place.rehearsal,
        elsewhere=elsewhere,
        with_curves=method == "auto",
    )
    far = distance(points, window)
    records = []
    for k, row in enumerate(place.origin.held):
        expected, truth = predictive.distributions[k], float(sample.accuracy[0][row])
        if expected is None:
            continue
        judgement = judge(window, predictive, k, float(far[k]))
        ends = [expected.interval(level) for level in LEVELS]
        records.append(
            BacktestRecord(
                family=task.ladder.family,
                task=task.ladder.task,
                metric=task.prepared.metric,
                method=method,
                origin_flops=float(np.exp(place.origin.log_flops)),
                runs_fitted=window.n_runs,
                model=task.prepared.runs[int(sample.run[row])],
                flops=float(np.exp(sample.log_flops[row])),
                extrapolation=float(np.exp(far[k])),
                truth=truth,
                point=expected.median,
                covered=tuple(lo <= truth <= hi for lo, hi in ends),
                width=tuple(hi - lo for lo, hi in ends),
                crps=expected.crps(truth),
                verdict=judgement.verdict.value,
                risk=judgement.risk,
                num_fewshot=task.ladder.num_fewshot,
                chance=task.ladder.chance if np.isfinite(task.ladder.chance) else None,
            )
        )
    return records


def score_methods(records: Sequence[BacktestRecord]) -> list[MethodScore]:
    """Sum records up by method, best first; every task counts the same.

    Methods that could not be fitted everywhere are compared on the common part (`mae_common`).
    """
    by_method: dict[str, list[BacktestRecord]] = {}
    for record in records:
        by_method.setdefault(record.method, []).append(record)
    places = [{_place(r) for r in entries} for entries in by_method.values()]
    common = set.intersection(*places) if places else set()
    scores = []
    for name, entries in by_method.items():
        shared = [abs(r.error) for r in entries if _place(r) in common]
        scores.append(
            MethodScore(
                method=name,
                forecasts=len(entries),
                mae=float(np.mean([abs(r.error) for r in entries])),
                bias=float(np.mean([r.error for r in entries])),
                mae_common=float(np.mean(shared)) if shared else float("nan"),
                coverage=tuple(float(x) for x in np.mean([r.covered for r in entries], axis=0)),
                width=tuple(float(x) for x in np.mean([r.width for r in entries], axis=0)),
                crps=float(np.mean([r.crps for r in entries])),
            )
        )
    return sorted(scores, key=lambda score: (np.isnan(score.mae_common), score.mae_common))


def _place(record: BacktestRecord) -> tuple[str, str, float, str]:
    return record.family, record.task, record.origin_flops, record.model


def error_by_extrapolation(records: Sequence[BacktestRecord], edges: FloatArray) -> dict[str, FloatArray]:
    """Mean absolute error of each method within bins of the extrapolation factor; NaN where a bin is empty."""
    result = {}
    for name in dict.fromkeys(record.method for record in records):
        factor = np.array([r.extrapolation for r in records if r.method == name])
        error = np.abs([r.error for r in records if r.method == name])
        slot = np.digitize(factor, edges)
        result[name] = np.array([error[slot == i].mean() if (slot == i).any() else np.nan for i in range(1, len(edges))])
    return result


def verdict_auroc(records: Sequence[BacktestRecord]) -> float:
    """How well the risk of the first method, `auto` unless others are named, ranks its errors above five points.

    NaN when no error is that large, or all are.
    """
    own = [record for record in records if record.method == records[0].method]
    wrong = np.array([float(abs(record.error) > LARGE_ERROR) for record in own])
    return auroc(np.array([record.risk for record in own]), wrong)


def auroc(risk: FloatArray, wrong: FloatArray) -> float:
    """Probability that a wrong forecast was given a higher risk than a right one; NaN without both kinds.

    >>> auroc(np.array([0.1, 0.9]), np.array([0.0, 1.0]))
    1.0
    """
    from scipy import stats

    bad = wrong.astype(bool)
    if bad.all() or not bad.any():
        return float("nan")
    ranks = stats.rankdata(risk)
    n = int(bad.sum())
    return float((ranks[bad].sum() - n * (n + 1) / 2) / (n * (bad.size - n)))
