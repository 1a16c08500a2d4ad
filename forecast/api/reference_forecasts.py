"""Forecasts with other families: from one or two runs, or beside what own runs say."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from forecast.api.reference_population import fitted_population, measurements_of, population_of
from forecast.core.distribution import Distribution
from forecast.core.errors import ForecastError, NotForecastableError, UsageError
from forecast.core.forecasts import BacktestSummary, FittedOn, Forecast, IntervalEstimate, Target, Verdict
from forecast.core.nearest import require
from forecast.core.observations import Ladder
from forecast.core.progress import Progress
from forecast.forecasting.engine import QUANTILES
from forecast.forecasting.references.blending import blended, contradiction_of, distribution_of, reference_weight
from forecast.forecasting.references.conditioning import draw_accuracies
from forecast.forecasting.references.population import Places, ratio_of, sampling_variance, scale_of
from forecast.forecasting.references.reference_class import MARGIN, reference_class
from forecast.forecasting.request import ForecastRequest
from forecast.forecasting.targets import complete_target
from forecast.forecasting.verdicts import LARGE_ERROR, LIKELY, POSSIBLE
from forecast.observations.ladders import Wanted, load_families
from forecast.observations.measures import by_rule
from forecast.observations.questions import Question, windows_beside
from forecast.observations.reference_choice import ChosenReferences, choose_references, names_of, protocol_note
from forecast.observations.reference_runs import ReferenceRuns, ladder_runs, library_runs, plain_name, table_runs


@dataclass(frozen=True, kw_only=True)
class ReferenceWish:
    """What the user says of references."""

    names: tuple[str, ...] | None = None
    """Families by name; `all` or `none` alone; None: only where own runs are too few."""
    table: Path | None = None
    """An observation table with more families."""

    @property
    def unwanted(self) -> bool:
        """Whether none may be used."""
        return self.names == ("none",)

    @property
    def families(self) -> tuple[str, ...] | None:
        """The families that are named; None: any."""
        return None if self.names in (None, ("all",)) else self.names

    @property
    def always(self) -> bool:
        """Whether they are wanted beside own runs that suffice, too."""
        return self.names is not None and not self.unwanted


@dataclass(frozen=True, kw_only=True)
class ReferenceOpinion:
    """What references say about the targets of one question."""

    distributions: Sequence[Distribution]
    """One per target."""
    contradiction: float
    mine: ReferenceRuns
    """The family's own runs on the task."""
    used: Sequence[ReferenceRuns]
    """References on the task."""
    families: tuple[str, ...]
    notes: tuple[str, ...]


def reference_pool(
    wish: ReferenceWish, beside: Sequence[ReferenceRuns], own: str, *, progress: Progress
) -> list[ReferenceRuns]:
    """Return what may be used: the library, the table, and other families of the results file.

    Raises:
        UsageError: a name that none of these has, or the family itself.
    """
    pool = [*(table_runs(wish.table, notice=progress.notice) if wish.table is not None else ()), *beside, *library_runs()]
    if wish.families is not None:
        known = {plain_name(entry.family) for entry in pool}
        require("reference", [n for n in wish.families if plain_name(n) not in known], {entry.family for entry in pool})
        itself = [name for name in wish.families if plain_name(name) in names_of(own)]
        if itself:
            raise UsageError(f"'{itself[0]}' is the family that is forecast, {own}", expected="other families in `reference=`")
    return pool


def other_families(source: Path, own: str, tasks: Sequence[str]) -> list[ReferenceRuns]:
    """Return the other families of a file that were measured on any of the tasks."""
    with suppress(ForecastError):  # What cannot be read of other families is no fault of the question.
        found = load_families(source, Wanted(tasks=tasks), None, notice=lambda _text: None)
        runs = (ladder_runs(ladder, source.name) for part in found for ladder in part.ladders if ladder.family != own)
        return [entry for entry in runs if entry is not None]
    return []


def ask_references(
    question: Question, siblings: Sequence[Ladder], pool: Sequence[ReferenceRuns], wish: ReferenceWish, request: ForecastRequest
) -> tuple[ReferenceOpinion, Ladder, list[Target], Ladder | None]:
    """Return what references say on a question, with its fitted ladder, targets and held-out end.

    Raises:
        NotForecastableError: no own run can be used, or no reference was measured on the task.
    """
    fitted, targets, held = question.split()
    mine = ladder_runs(by_rule(fitted, metric=request.metric), "own")
    if mine is None:
        raise NotForecastableError(
            f"{fitted.family} on {fitted.task} has no run with known training FLOPs and finite accuracy",
            expected="at least one, for references to go on from",
        )
    others = (ladder_runs(window.ladder, "own") for window in windows_beside(question, fitted, targets, siblings))
    own = [mine, *(runs for runs in others if runs is not None and runs.identity != mine.identity)]
    completed = [complete_target(target, fitted)[0] for target in targets]
    return opinions_of(own, completed, pool, names=wish.families, seed=request.seed), fitted, completed, held


def opinions_of(
    own: Sequence[ReferenceRuns],
    targets: Sequence[Target],
    pool: Sequence[ReferenceRuns],
    *,
    names: Sequence[str] | None = None,
    seed: int = 0,
) -> ReferenceOpinion:
    """Return what references say about targets on the first task of `own`.

    Args:
        own: the family's runs that may be seen, one entry per task.
        targets: with their compute.
        pool: what may be used.
        names: families that may be used; None: all.
        seed: of everything random.

    Raises:
        NotForecastableError: no reference was measured on the task, or its chance level is not known.
    """
    mine = own[0]
    chosen = choose_references(pool, own, names=names)
    used = [entry for entry in chosen.runs if entry.identity == mine.identity]
    if not used:
        raise NotForecastableError(
            f"no reference was measured on {mine.task}",
            expected="another family's results on it",
            remedy="name a table with `reference_table=`; `forecast references` lists what ships",
        )
    if not np.isfinite([mine.chance, *(entry.chance for entry in used)]).any():
        raise NotForecastableError(f"the chance level of {mine.task} is not known", remedy="state it with `chance=`")
    distributions, contradiction = _condition(own, chosen, targets, seed)
    notes = [protocol_note(mine, used), *chosen.notes]
    if chosen.excluded:
        notes.append(f"Not a reference, for it is the same family: {', '.join(sorted(set(chosen.excluded)))}.")
    top = max(float(entry.flops[-1]) for entry in used)
    if any((target.flops or 0.0) > top for target in targets):
        notes.append(f"No reference on {mine.task} has more than {top:.2g} FLOPs.")
    if len(used) == 1:
        notes.append(f"Only one reference was measured on {mine.task}, so how families differ there is hardly known.")
    return ReferenceOpinion(
        distributions=distributions,
        contradiction=contradiction,
        mine=mine,
        used=used,
        families=tuple(sorted({entry.family for entry in used}, key=str.lower)),
        notes=tuple(note for note in notes if note),
    )


def _condition(
    own: Sequence[ReferenceRuns], chosen: ChosenReferences, targets: Sequence[Target], seed: int
) -> tuple[list[Distribution], float]:
    """What references say at the targets on the first of the tasks, and how well they foresaw the largest own run."""
    known = {entry.identity for entry in chosen.runs}
    levels: dict[str, list[float]] = {}
    for entry in (*own, *chosen.runs):
        if np.isfinite(entry.chance):
            levels.setdefault(entry.identity, []).append(entry.chance)
    tasks = sorted(entry.identity for entry in own if entry.identity in known and entry.identity in levels)
    # The own runs' level where they state one: `own` comes first.
    chance = np.array([levels[task][0] for task in tasks])
    fitted = fitted_population(population_of([r for r in chosen.runs if r.identity in tasks], tasks, chance))
    seen, at = measurements_of(own, tasks), tasks.index(own[0].identity)
    flops, params, tokens = (
        np.array([np.nan if (value := getattr(target, name)) is None else value for target in targets], dtype=float)
        for name in ("flops", "params", "tokens")
    )
    count = len(targets)
    wanted = Places(
        task=np.full(count, at, dtype=np.intp), scale=scale_of(flops), ratio=ratio_of(params, tokens), model=np.arange(count)
    )
    draws = draw_accuracies(fitted, seen, wanted, seed=seed, draws=400)
    items = float(own[0].n_items[-1])
    variance = sampling_variance(np.median(draws, axis=0), np.full(count, items))
    found = [distribution_of(draws[:, k], float(variance[k]), seed=seed) for k in range(count)]
    return found, contradiction_of(fitted, seen, at, seed=seed)


def forecasts_by_references(
    opinion: ReferenceOpinion, fitted: Ladder, targets: Sequence[Target], request: ForecastRequest, refused: ForecastError
) -> list[Forecast]:
    """Return the forecasts of a family whose own runs are too few."""
    mine = opinion.mine
    few = len(set(mine.model))
    found = []
    for target, expected in zip(targets, opinion.distributions, strict=True):
        probabilities = sorted({*QUANTILES, (1 - request.level) / 2, (1 + request.level) / 2})
        lo, hi = expected.interval(request.level)
        reasons = (
            f"From {few} own run{'' if few == 1 else 's'} and {len(opinion.families)} other families; own runs alone do not"
            f" suffice: {refused.found}.",
            *_class_sentence(opinion, target, expected),
        )
        found.append(
            Forecast(
                task=fitted.task,
                family=fitted.family,
                target=target,
                level=request.level,
                nll=None,
                accuracy=IntervalEstimate(metric=mine.metric, point=expected.median, lo=lo, hi=hi),
                method="references",
                verdict=verdict_of(expected),
                reasons=reasons,
                backtest=BacktestSummary(origins=0, mae=None, persistence_mae=None, coverage=None),
                fitted_on=FittedOn(
                    n_checkpoints=len(mine.model),
                    n_runs=few,
                    min_flops=float(mine.flops[0]),
                    max_flops=float(mine.flops[-1]),
                ),
                warnings=(*fitted.notes, *opinion.notes),
                quantiles={p: expected.quantile(p) for p in probabilities},
                distribution=expected,
                num_fewshot=fitted.num_fewshot,
                chance=mine.chance if np.isfinite(mine.chance) else None,
                references=opinion.families,
            )
        )
    return found


def with_references(forecast: Forecast, opinion: ReferenceOpinion, k: int) -> Forecast:
    """Return a forecast of own runs with what references say about target `k` made part of it."""
    own = forecast.distribution
    assert own is not None, "made a moment ago"
    weight = reference_weight(own, opinion.distributions[k], opinion.contradiction)
    expected = blended(own, opinion.distributions[k], weight)
    lo, hi = expected.interval(forecast.level)
    alone = forecast.accuracy
    text = (
        f"{len(opinion.families)} other families count {100 * weight:.0f} %; without them {100 * alone.point:.1f} %"
        f" ({100 * alone.lo:.1f} to {100 * alone.hi:.1f})."
    )
    verdict = verdict_of(expected)
    if forecast.verdict is Verdict.NOT_PREDICTABLE and verdict is Verdict.PREDICTABLE:
        verdict = Verdict.UNCERTAIN
    return replace(
        forecast,
        accuracy=replace(alone, point=expected.median, lo=lo, hi=hi),
        verdict=verdict,
        reasons=(*forecast.reasons, text, *_class_sentence(opinion, forecast.target, expected)),
        warnings=(*forecast.warnings, *opinion.notes),
        quantiles={p: expected.quantile(p) for p in forecast.quantiles},
        distribution=expected,
        references=opinion.families,
        without_references=alone,
    )


def verdict_of(expected: Distribution) -> Verdict:
    """Judge by the probability of an error above five points."""
    risk = 1.0 - expected.probability_within(expected.median - LARGE_ERROR, expected.median + LARGE_ERROR)
    if risk >= LIKELY:
        return Verdict.NOT_PREDICTABLE
    return Verdict.UNCERTAIN if risk >= POSSIBLE else Verdict.PREDICTABLE


def _class_sentence(opinion: ReferenceOpinion, target: Target, expected: Distribution) -> tuple[str, ...]:
    """Where others left chance, if the own runs have not."""
    mine = opinion.mine
    if not np.isfinite(mine.chance) or float(mine.accuracy.max()) >= mine.chance + MARGIN:
        return ()
    found = reference_class([r.flops for r in opinion.used], [r.accuracy for r in opinion.used], mine.chance)
    return (found.sentence(mine.task, target.flops, expected.probability_above(mine.chance + MARGIN)),)
