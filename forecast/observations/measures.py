"""Which accuracy, how many shots and which chance level a question about a task means: one rule for every command.

What the user says, else what the data say (chance only), else what the task's card says, else the table of metrics' order of
preference. Shots that the card does not name, or that were not measured, give way to those of most runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from forecast.catalog.task_facts import card_of, stated_shots
from forecast.core.errors import UsageError
from forecast.core.metrics import MetricKind, preferred
from forecast.core.observations import Ladder

SAME_CHANCE = 0.01
"""Chance levels that differ by less do not contradict each other: a few ARC questions have three or five choices."""


class Origin(StrEnum):
    """Where a choice comes from."""

    USER = "the user"
    DATA = "the data"
    CARD = "the task's card"
    ORDER = "the order of preference"
    NOWHERE = "nowhere"


@dataclass(frozen=True, kw_only=True)
class Measures:
    """What is meant by a task, and why."""

    metric: str | None
    """The accuracy; None where none was measured."""
    metric_from: Origin
    nll_metric: str | None
    """The smooth measure that the card names, where it was measured."""
    num_fewshot: int | None
    """None: unknown."""
    shots_from: Origin
    chance: float
    """NaN: unknown."""
    chance_from: Origin
    notes: tuple[str, ...] = ()
    """Sentences that belong beside every number made from these measures."""


def check_chance(chance: float | None) -> None:
    """Check a chance level that the user states.

    Raises:
        UsageError: it is not a fraction from 0 to below 1.
    """
    if chance is not None and not 0.0 <= chance < 1.0:
        raise UsageError(
            f"chance is {chance:g}",
            expected="a fraction from 0 to below 1",
            remedy="four choices are 0.25; generated answers are 0",
        )


def choose_measures(ladder: Ladder, *, metric: str | None = None, chance: float | None = None) -> Measures:
    """Return what is meant by a ladder's task.

    Args:
        ladder: runs that were measured with one number of shots.
        metric: the accuracy that the user names; whether it was measured is checked where it is fitted.
        chance: the accuracy of guessing that the user states.
    """
    card = card_of(ladder.task)
    measured = {name for name, column in ladder.metrics.items() if np.isfinite(column).any()}
    accuracy = metric or preferred(measured, [MetricKind.ACCURACY], card=card.accuracy_metric if card else None)
    by_card = card is not None and accuracy == card.accuracy_metric
    shots = ladder.num_fewshot if ladder.num_fewshot is not None else stated_shots(ladder.task)
    level, chance_from, notes = _chance(ladder, chance)
    return Measures(
        metric=accuracy,
        metric_from=Origin.USER if metric else Origin.CARD if by_card else Origin.ORDER,
        nll_metric=card.nll_metric if card is not None and card.nll_metric in measured else None,
        num_fewshot=shots,
        shots_from=Origin.NOWHERE if shots is None else Origin.DATA,
        chance=level,
        chance_from=chance_from,
        notes=notes,
    )


def _chance(ladder: Ladder, stated: float | None) -> tuple[float, Origin, tuple[str, ...]]:
    card = card_of(ladder.task)
    measured = ladder.chance if np.isfinite(ladder.chance) else None
    known = [
        (level, origin)
        for level, origin in ((stated, Origin.USER), (measured, Origin.DATA), (card.chance if card else None, Origin.CARD))
        if level is not None
    ]
    if not known:
        note = f"The chance level of {ladder.task} is not known: no column `chance`, no card and no `chance=` says it."
        return float("nan"), Origin.NOWHERE, (note,)
    level, origin = known[0]
    others = [f"{other:.3g} by {source.value}" for other, source in known[1:] if abs(other - level) > SAME_CHANCE]
    notes = (f"Chance is {level:.3g} by {origin.value}, but {' and '.join(others)}; {level:.3g} is used.",) if others else ()
    return level, origin, notes


def by_rule(ladder: Ladder, *, metric: str | None = None, chance: float | None = None) -> Ladder:
    """Return the ladder with its measures chosen: accuracy, smooth measure, shots and chance, and the notes on them."""
    chosen = choose_measures(ladder, metric=metric, chance=chance)
    return replace(
        ladder,
        accuracy_metric=chosen.metric,
        nll_metric=chosen.nll_metric,
        num_fewshot=chosen.num_fewshot,
        chance=chosen.chance,
        notes=tuple(dict.fromkeys((*ladder.notes, *chosen.notes))),
    )


@dataclass(frozen=True, kw_only=True)
class ShotsChoice:
    """One of the numbers of shots that a task was measured with."""

    num_fewshot: int | None
    """None: unknown."""
    note: str = ""
    """A sentence on the choice, where one is due."""


def choose_shots(task: str, runs: Mapping[int | None, int], asked: int | None = None) -> ShotsChoice | None:
    """Choose one of the numbers of shots that a task was measured with; None where the one asked for was not measured.

    Rows that do not state their shots count only where no row does.

    Args:
        task: its name.
        runs: number of shots, None where unknown -> how many training runs were measured with it.
        asked: the user's choice.

    >>> choose_shots("arc_easy", {0: 4, 5: 8}).note
    'arc_easy was measured with 0 and 5 shots, never mixed; 0 are taken, as its card says (`num_fewshot=` chooses).'
    >>> choose_shots("no_card", {0: 4, 5: 8}).num_fewshot, choose_shots("arc_easy", {0: 4}, asked=5)
    (5, None)
    """
    known = sorted(count for count in runs if count is not None)
    if not known:
        stated = stated_shots(task)
        if asked is not None and stated not in (None, asked):
            return None
        unchecked = asked is not None and stated is None
        note = f"Nothing says how many shots {task} was measured with: that they are {asked} is not known." if unchecked else ""
        return ShotsChoice(num_fewshot=None, note=note)
    if asked is not None:
        return ShotsChoice(num_fewshot=asked) if asked in known else None
    card = card_of(task)
    if len(known) == 1:
        (shots,) = known
        unusual = card is not None and shots != card.num_fewshot and stated_shots(task) is None
        usual = card.num_fewshot if card is not None else None
        note = f"{task} was measured with {shots} shots; its card names {usual} as usual." if unusual else ""
        return ShotsChoice(num_fewshot=shots, note=note)
    if card is not None and card.num_fewshot in known:
        shots, why = card.num_fewshot, "as its card says"
    else:
        shots, why = max(known, key=lambda count: (runs[count], -count)), "which most runs have"
    listed = f"{', '.join(str(count) for count in known[:-1])} and {known[-1]}"
    note = f"{task} was measured with {listed} shots, never mixed; {shots} are taken, {why} (`num_fewshot=` chooses)."
    return ShotsChoice(num_fewshot=shots, note=note)
