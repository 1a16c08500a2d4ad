"""Leave one family out: forecast its larger models from its k smallest, with all other families as references."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from forecast.api.reference_forecasts import ReferenceOpinion, opinions_of
from forecast.catalog.task_facts import task_identity
from forecast.core.distribution import Distribution
from forecast.core.errors import NotForecastableError, UsageError
from forecast.core.forecasts import Target
from forecast.core.names import read_names
from forecast.core.nearest import require
from forecast.core.progress import Progress, SilentProgress
from forecast.forecasting.engine import forecast_ladder
from forecast.forecasting.references.blending import blended, reference_weight
from forecast.observations.ladders import Wanted, load_families
from forecast.observations.reference_choice import names_of
from forecast.observations.reference_runs import ReferenceRuns, as_ladder, ladder_runs, library_runs, table_runs

AHEAD = 1.9
"""Least compute of a target over that of the largest fitted run: nearer ones ask for no forecast."""
MOST_RUNS = 8
"""Own runs up to which a family is followed: from there on references hardly count."""
OWN_FROM = 3
"""Own runs from which a forecast can be made from them alone."""
LEVELS = (0.8, 0.9)


@dataclass(frozen=True, kw_only=True)
class FamilyRecord:
    """One forecast of a larger model of a family that was left out. Accuracies are fractions."""

    family: str
    task: str
    runs_fitted: int
    model: str
    flops: float
    extrapolation: float
    """Target's compute over the largest fitted run's."""
    truth: float
    point: float
    """With references."""
    persistence: float
    """The largest fitted run's accuracy."""
    crps: float
    covered: tuple[bool, ...]
    """At each of LEVELS."""
    width: tuple[float, ...]
    own_point: float | None
    """Of own runs alone; None where they are too few."""
    own_crps: float | None
    own_covered: tuple[bool, ...] | None


@dataclass(frozen=True, kw_only=True)
class FamilyScore:
    """Records summed up. `own_` numbers are over the forecasts that own runs alone could make, and None where none could."""

    task: str
    """`all` for all tasks."""
    runs_fitted: str
    """`1`, `2`, or `3+`."""
    forecasts: int
    mae: float
    persistence_mae: float
    crps: float
    persistence_crps: float
    """Of a forecast without an interval: its absolute error."""
    coverage: tuple[float, ...]
    width: tuple[float, ...]
    own_forecasts: int
    own_mae: float | None
    mae_beside_own: float | None
    """With references, over the same forecasts as `own_mae`."""
    own_crps: float | None
    crps_beside_own: float | None
    own_coverage: tuple[float, ...] | None


@dataclass(frozen=True, kw_only=True)
class FamilyBacktest:
    """Records with their summary."""

    records: Sequence[FamilyRecord]
    scores: Sequence[FamilyScore]
    skipped: Sequence[str]
    levels: Sequence[float] = LEVELS

    def __repr__(self) -> str:
        """How many forecasts of how many families, in one line."""
        families = {record.family for record in self.records}
        return f"<FamilyBacktest: {len(self.records)} forecasts of {len(families)} families that were left out>"


def backtest_families(
    source: str | Path | None = None,
    tasks: str | Sequence[str] | None = None,
    *,
    families: str | Sequence[str] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> FamilyBacktest:
    """Leave each family out in turn, and forecast its larger models from its k smallest.

    Args:
        source: results file or table whose families are left out; None takes those of the library.
        tasks: benchmarks that are scored; None takes all. A family's other tasks are seen for its fitted runs.
        families: families that are left out; None takes all.
        seed: of everything random.
        progress: where the bar goes; one unit per family.

    Raises:
        UsageError: unknown names.
        NotForecastableError: no family has two runs with a reference beside it.
    """
    progress = progress or SilentProgress()
    library, own = library_runs(), _runs_of(source, progress)
    pool = [*own, *library]
    scored = own or library
    names = read_names("families", families)
    require("family", names or (), {entry.family for entry in scored})
    wanted = None if tasks is None else {task_identity(task): task for task in read_names("tasks", tasks) or ()}
    known = {entry.identity for entry in scored}
    require("task", [task for key, task in (wanted or {}).items() if key not in known], {entry.task for entry in scored})
    held = list(dict.fromkeys(entry.family for entry in scored if names is None or entry.family in names))
    records: list[FamilyRecord] = []
    skipped: dict[str, None] = {}
    with progress.stage("leaving out", len(held), "families") as stage:
        for family in held:
            stage.describe(family)
            mine = _one_way_each([entry for entry in scored if entry.family == family])
            for k in range(1, MOST_RUNS + 1):
                found, problem = _from_smallest(mine, k, pool, wanted, seed)
                records += found
                if problem:
                    skipped[problem] = None
            stage.advance()
    if not records:
        raise NotForecastableError(
            "no family could be left out" + (f" ({next(iter(skipped))})" if skipped else ""),
            expected="families of two runs or more, with other families on the same tasks",
        )
    return FamilyBacktest(records=records, scores=score_families(records), skipped=list(skipped))


def _runs_of(source: str | Path | None, progress: Progress) -> list[ReferenceRuns]:
    from forecast.importers.tables import is_table

    if source is None:
        return []
    path = Path(source)
    if is_table(path):
        return table_runs(path, notice=progress.notice)
    found = load_families(path, Wanted(), None, notice=progress.notice)
    runs = (ladder_runs(ladder, path.name) for part in found for ladder in part.ladders)
    return [entry for entry in runs if entry is not None]


def _one_way_each(runs: Sequence[ReferenceRuns]) -> list[ReferenceRuns]:
    """Of a task that was measured in several ways the one with most runs, the most shots among equals."""
    best: dict[str, ReferenceRuns] = {}
    for entry in runs:
        other = best.get(entry.identity)
        if other is None or (len(entry.model), entry.num_fewshot or 0) > (len(other.model), other.num_fewshot or 0):
            best[entry.identity] = entry
    return list(best.values())


def _from_smallest(
    mine: Sequence[ReferenceRuns], k: int, pool: Sequence[ReferenceRuns], wanted: dict[str, str] | None, seed: int
) -> tuple[list[FamilyRecord], str]:
    """Forecasts of one family from its k smallest models, and why some could not be made."""
    sizes = sorted({(float(c), name) for entry in mine for c, name in zip(entry.flops, entry.model, strict=True)})
    if len(sizes) <= k:
        return [], ""
    fitted, top = {name for _, name in sizes[:k]}, sizes[k - 1][0]
    seen = [part for entry in mine if (part := entry.of_models(fitted)) is not None]
    records: list[FamilyRecord] = []
    problem = ""
    for entry in mine:
        own = next((part for part in seen if part.identity == entry.identity), None)
        ahead = entry.of_models({name for c, name in sizes[k:] if c >= AHEAD * top})
        if own is None or ahead is None or len(own.model) < k or (wanted is not None and entry.identity not in wanted):
            continue
        others = [part for part in seen if part is not own]
        targets = [
            Target(name=name, params=_number(n), tokens=_number(d), flops=float(c))
            for name, n, d, c in zip(ahead.model, ahead.params, ahead.tokens, ahead.flops, strict=True)
        ]
        rest = [other for other in pool if not names_of(other.family) & names_of(entry.family)]
        try:
            opinion = opinions_of([own, *others], targets, rest, seed=seed)
        except NotForecastableError as error:
            problem = f"{entry.family}, {entry.task}: {error.found}"
            continue
        records += _scored(entry, own, ahead, targets, opinion, seed)
    return records, problem


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _scored(
    entry: ReferenceRuns,
    own: ReferenceRuns,
    ahead: ReferenceRuns,
    targets: Sequence[Target],
    opinion: ReferenceOpinion,
    seed: int,
) -> list[FamilyRecord]:
    alone = _alone(own, targets, seed)
    records = []
    for j, target in enumerate(targets):
        expected, mine = opinion.distributions[j], alone[j]
        if mine is not None:
            expected = blended(mine, expected, reference_weight(mine, expected, opinion.contradiction))
        truth = float(ahead.accuracy[j])
        ends = [expected.interval(level) for level in LEVELS]
        records.append(
            FamilyRecord(
                family=entry.family,
                task=entry.task,
                runs_fitted=len(own.model),
                model=target.name,
                flops=float(ahead.flops[j]),
                extrapolation=float(ahead.flops[j] / own.flops[-1]),
                truth=truth,
                point=expected.median,
                persistence=float(own.accuracy[-1]),
                crps=expected.crps(truth),
                covered=tuple(lo <= truth <= hi for lo, hi in ends),
                width=tuple(hi - lo for lo, hi in ends),
                own_point=None if mine is None else mine.median,
                own_crps=None if mine is None else mine.crps(truth),
                own_covered=None if mine is None else tuple(mine.holds(truth, level) for level in LEVELS),
            )
        )
    return records


def _alone(own: ReferenceRuns, targets: Sequence[Target], seed: int) -> list[Distribution | None]:
    """What own runs say alone; None where they are too few."""
    if len(own.model) < OWN_FROM:
        return [None] * len(targets)
    try:
        return [made.distribution for made in forecast_ladder(as_ladder(own), targets, seed=seed)]
    except (NotForecastableError, UsageError):
        return [None] * len(targets)


def score_families(records: Sequence[FamilyRecord]) -> list[FamilyScore]:
    """Sum up by number of own runs, over all tasks and for each."""
    tasks = sorted({record.task for record in records})
    scores = []
    for task in ("all", *(tasks if len(tasks) > 1 else ())):
        for label in ("1", "2", "3+"):
            part = [
                r
                for r in records
                if task in ("all", r.task) and (str(r.runs_fitted) if r.runs_fitted < OWN_FROM else "3+") == label
            ]
            if part:
                scores.append(_score(task, label, part))
    return scores


def _score(task: str, label: str, part: Sequence[FamilyRecord]) -> FamilyScore:
    own = [record for record in part if record.own_point is not None]
    errors = [abs(record.point - record.truth) for record in part]
    naive = [abs(record.persistence - record.truth) for record in part]

    def mean(values: Sequence[float]) -> float | None:
        return float(np.mean(values)) if values else None

    def shares(values: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
        return tuple(float(x) for x in np.mean(values, axis=0))

    base = FamilyScore(
        task=task,
        runs_fitted=label,
        forecasts=len(part),
        mae=float(np.mean(errors)),
        persistence_mae=float(np.mean(naive)),
        crps=float(np.mean([record.crps for record in part])),
        persistence_crps=float(np.mean(naive)),
        coverage=shares([record.covered for record in part]),
        width=shares([record.width for record in part]),
        own_forecasts=len(own),
        own_mae=mean([abs(r.own_point - r.truth) for r in own if r.own_point is not None]),
        mae_beside_own=mean([abs(r.point - r.truth) for r in own]),
        own_crps=mean([r.own_crps for r in own if r.own_crps is not None]),
        crps_beside_own=mean([r.crps for r in own]),
        own_coverage=None,
    )
    return replace(base, own_coverage=shares([r.own_covered for r in own if r.own_covered is not None])) if own else base
