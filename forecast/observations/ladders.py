"""Which ladders a forecast or a back-test reads: the tasks that are asked for, and those of the family beside them."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from forecast.catalog.task_facts import card_of, same_task, stated_shots
from forecast.core.errors import InputError, NotForecastableError, UsageError
from forecast.core.metrics import ACCURACY_METRICS
from forecast.core.observations import Ladder
from forecast.core.progress import Progress, SilentProgress
from forecast.importers.tables import is_table
from forecast.observations.measures import by_rule, check_chance, choose_shots
from forecast.observations.task_groups import asked_shots, members_of, stored_members, stored_tasks, union_of

if TYPE_CHECKING:
    from forecast.store.ladders import ShotsRule

MOST_SIBLINGS = 17
"""Tasks of a family that share the scale of their intervals: more say nothing new and take time."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which ladders are asked for, and what the user says of how they were measured."""

    tasks: Sequence[str] | None = None
    """None: all."""
    family: str | None = None
    """None: the only one."""
    num_fewshot: int | None = None
    chance: float | None = None
    """The accuracy of guessing."""

    def __post_init__(self) -> None:
        """Check what can be checked before anything is read."""
        check_chance(self.chance)
        if self.chance is not None and self.tasks is None:
            raise UsageError("`chance=` without a task", expected="the tasks that have this chance level, in `task=`")


def load_ladders(source: Path, wanted: Wanted, *, with_items: bool = False, progress: Progress | None = None) -> list[Ladder]:
    """Read the ladders that are meant: from a results file, or from a CSV or Parquet table of observations.

    Accuracy, shots and chance are chosen by `measures`; of several definitions that with the most runs is taken. What was
    chosen or left out stands in each ladder's notes.

    Raises:
        InputError: there is no such file.
        NotForecastableError: it holds no results.
        UsageError: unknown task or family, with the nearest names; or several families and none was named.
    """
    found, stored = _read(source, wanted, with_items, progress or SilentProgress())
    return _choose(source, found, stored, wanted)


def load_with_siblings(source: Path, wanted: Wanted, *, progress: Progress | None = None) -> tuple[list[Ladder], list[Ladder]]:
    """As `load_ladders` with items, and besides up to 17 tasks of the family, the same whichever tasks are asked for.

    Tasks that cannot be read, or not without a choice, are left out.
    """
    found, stored = _read(source, wanted, True, progress or SilentProgress())
    asked = _choose(source, found, stored, wanted)
    own = {ladder.task: ladder for ladder in asked}
    if not is_table(source):
        undecided = _undecided(_stored_shots(source, asked[0].family, wanted.num_fewshot), own)
        siblings = stored_siblings(source, asked[0].family, own, wanted.num_fewshot)
        return [replace(ladder, notes=ladder.notes + undecided) for ladder in asked], siblings
    ladders = [ladder for ladder in found if ladder.family == asked[0].family]
    ladders = [ladder for ladder in ladders if wanted.num_fewshot in (None, ladder.num_fewshot)]
    shots = [(ladder.task, ladder.num_fewshot) for ladder in ladders]
    asked = [replace(ladder, notes=ladder.notes + _undecided(shots, own)) for ladder in asked]
    own, names = {ladder.task: ladder for ladder in asked}, sibling_names(shots)
    chosen = {name: by_rule(ladder) for name, ladder in _one_definition_each(ladders, dict.fromkeys(names)).items()} | own
    return asked, [chosen[name] for name in names if _has_accuracy(chosen[name])]


def _choose(source: Path, ladders: Sequence[Ladder], stored: Collection[str], wanted: Wanted) -> list[Ladder]:
    """Of what was read the ladders that are meant; `stored` names all tasks of the source."""
    ladders = [ladder for ladder in ladders if _has_accuracy(ladder)]
    stated = {wanted.num_fewshot, *(stated_shots(task) for task in wanted.tasks or ())} - {None}
    if not ladders and stated:
        raise UsageError(
            f"no accuracies with {', '.join(map(str, stated))} shots on these tasks in {source}", remedy="leave the shots out"
        )
    if not ladders:
        raise NotForecastableError(
            f"no results to fit in {source}", expected="accuracies of several checkpoints", remedy="run `forecast eval` first"
        )
    if wanted.family is not None:
        require("family", [wanted.family], {ladder.family for ladder in ladders})
        ladders = [ladder for ladder in ladders if ladder.family == wanted.family]
    known = sorted({ladder.task for ladder in ladders})
    # Two spellings of one task are one question.
    groups = {members_of(task, known, wanted.num_fewshot): task for task in reversed(wanted.tasks or known)}
    groups = dict(reversed(groups.items()))
    shots = {name: asked_shots(task, name, wanted.num_fewshot) for names, task in groups.items() for name in names}
    require("task", list(shots), set(known))
    ladders = [ladder for ladder in ladders if ladder.task in shots]
    families = sorted({ladder.family for ladder in ladders})
    if len(families) > 1:
        raise UsageError(
            f"{source} holds {len(families)} families on these tasks ({', '.join(families[:6])})",
            remedy="name one with `family=`",
        )
    chosen = _one_definition_each(ladders, shots)
    lacking = [name for name in shots if name not in chosen]
    if lacking and (wanted.tasks is not None or not chosen):
        counts = sorted({str(ladder.num_fewshot) for ladder in ladders if ladder.task in lacking})
        raise UsageError(
            f"{families[0]} has no results on {', '.join(lacking[:4])} with {shots[lacking[0]]} shots",
            expected=f"shots that were measured: {', '.join(counts)}",
        )
    return [
        _joined(task, [chosen[name] for name in names], wanted.chance, _said(task, names, stored, wanted.num_fewshot))
        for names, task in groups.items()
        if all(name in chosen for name in names)
    ]


def _said(task: str, names: Sequence[str], stored: Collection[str], num_fewshot: int | None) -> str:
    """What is to be said where stored names state their shots, and the user left open which is meant."""
    if num_fewshot is not None or stated_shots(task) is not None:
        return ""
    kin = {other for name in names for other in stored if same_task(other, name)}
    choice = choose_shots(task, dict.fromkeys((stated_shots(name) for name in kin), 0))
    return choice.note if choice is not None and len(kin) > len(names) else ""


def _joined(task: str, members: Sequence[Ladder], chance: float | None, said: str) -> Ladder:
    """A task's own ladder or its group's union, with its measures chosen."""
    notes: list[str] = [said] if said else []
    ladder = union_of(task, members, notes.append)
    return by_rule(replace(ladder, notes=(*notes, *ladder.notes)), chance=chance)


def _read(source: Path, wanted: Wanted, with_items: bool, progress: Progress) -> tuple[list[Ladder], set[str]]:
    """Read a table's ladders, or those of a results file that may be meant; and the names of all its tasks."""
    if not source.exists():
        raise InputError(
            f"there is no {source}", expected="a results file or a table of observations", remedy="run `forecast eval` first"
        )
    if is_table(source):
        from forecast.core.observation_rows import to_ladders
        from forecast.importers import read_observations

        found = to_ladders(read_observations(source, notice=progress.notice))
        return found, {ladder.task for ladder in found}
    from forecast.store import Store

    store, families = Store(source), None if wanted.family is None else [wanted.family]
    tasks, asked = wanted.tasks, {}
    if tasks is not None:
        held = {task: stored_members(store, [task], families, wanted.num_fewshot) for task in tasks}
        tasks = list(dict.fromkeys(name for names in held.values() for name in names))
        asked = {name: asked_shots(task, name, wanted.num_fewshot) for task, names in held.items() for name in names}
    rule = shots_rule(wanted.num_fewshot, asked)
    found = store.ladders(tasks=tasks, families=families, choose_shots=rule, with_items=with_items)
    return found, {task for held in stored_tasks(store, families).values() for task in held}


def shots_rule(num_fewshot: int | None, asked: Mapping[str, int | None] | None = None) -> ShotsRule:
    """Return the rule by which a results file chooses shots: what is asked of single tasks, else of all, else `measures`."""

    def rule(task: str, runs: Mapping[int | None, int]) -> tuple[int | None, str] | None:
        choice = choose_shots(task, runs, (asked or {}).get(task, num_fewshot))
        return None if choice is None else (choice.num_fewshot, choice.note)

    return rule


def _has_accuracy(ladder: Ladder) -> bool:
    return any(name in ladder.metrics for name in ACCURACY_METRICS)


def require(kind: str, wanted: Sequence[str], known: set[str]) -> None:
    """Raise a UsageError that names what is nearest, unless all that is wanted is known."""
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.4)
            raise UsageError(
                f"unknown {kind} '{name}'" + (f" (nearest: {', '.join(near)})" if near else ""),
                expected="one of " + ", ".join(sorted(known)[:20]),
            )


def _one_definition_each(ladders: Sequence[Ladder], shots: Mapping[str, int | None]) -> dict[str, Ladder]:
    """Of each task the ladder with the shots meant and, of several definitions, with the most runs.

    Args:
        ladders: of one family.
        shots: task -> what the user says of its shots.
    """
    by_task: dict[str, list[Ladder]] = {}
    for ladder in ladders:
        by_task.setdefault(ladder.task, []).append(ladder)
    chosen = {}
    for task, asked in shots.items():
        runs: dict[int | None, int] = {}
        for ladder in by_task[task]:
            runs[ladder.num_fewshot] = max(runs.get(ladder.num_fewshot, 0), len(set(ladder.model)))
        choice = choose_shots(task, runs, asked)
        if choice is None:
            continue
        alike = [ladder for ladder in by_task[task] if ladder.num_fewshot == choice.num_fewshot]
        best = max(alike, key=lambda ladder: len(set(ladder.model)))
        notes = [choice.note] if choice.note else []
        if len(alike) > 1:
            rows = sum(len(ladder) for ladder in alike) - len(best)
            notes.append(
                f"{task} was measured in {len(alike)} ways that are never mixed; the one with the most runs is used, and"
                f" {rows} checkpoints of the others are left out."
            )
        chosen[task] = replace(best, notes=(*notes, *best.notes))
    return chosen


def stored_siblings(source: Path, family: str, own: Mapping[str, Ladder], num_fewshot: int | None) -> list[Ladder]:
    """Return the siblings of a family in a results file; those in `own` are at hand."""
    from forecast.store import Store

    names = sibling_names(_stored_shots(source, family, num_fewshot))
    others = [task for task in names if task not in own]
    found: list[Ladder] = []
    store = Store(source)

    def read(tasks: Sequence[str]) -> list[Ladder]:
        return store.ladders(tasks=tasks, families=[family], choose_shots=shots_rule(num_fewshot))

    try:
        found = read(others) if others else []
    except UsageError:  # some task has nothing complete: each by itself
        for task in others:
            with contextlib.suppress(UsageError):
                found += read([task])
    chosen = {ladder.task: by_rule(ladder) for ladder in found} | dict(own)
    return [chosen[name] for name in names if name in chosen and _has_accuracy(chosen[name])]


def _stored_shots(source: Path, family: str, num_fewshot: int | None) -> list[tuple[str, int | None]]:
    """Tasks of a family in a results file with each number of shots, or with the one that is asked for."""
    from forecast.store import Store

    parts = Store(source).query("SELECT DISTINCT family, task, num_fewshot FROM observations")
    rows = [row for part in parts for row in part.to_pylist() if row["family"] == family]
    stored = [(row["task"], row["num_fewshot"]) for row in rows]
    return [entry for entry in stored if num_fewshot is None or entry[1] == num_fewshot]


def _undecided(stored: Sequence[tuple[str, int | None]], own: Mapping[str, Ladder]) -> tuple[str, ...]:
    """A sentence on the siblings that are left out because only a number of shots would decide how to read them."""
    shots: dict[str, set[int | None]] = {}
    for task, count in stored:
        shots.setdefault(task, set()).add(count)
    count = sum(len(counts) > 1 for task, counts in shots.items() if task not in own)
    if not count:
        return ()
    return (
        f"Left out: {count} other tasks of the family, measured with several numbers of shots, do not help to scale the"
        " interval (`num_fewshot=` decides).",
    )


def sibling_names(stored: Sequence[tuple[str, int | None]]) -> list[str]:
    """Return up to 17 tasks of a family, evenly spread over their names; a group's tasks come after all others.

    Args:
        stored: task and number of shots; tasks with several numbers are left out, for they cannot be read without a choice.

    >>> sibling_names([("piqa", 0), ("sciq", 0), ("sciq", 5)])
    ['piqa']
    """
    shots: dict[str, set[int | None]] = {}
    for task, count in stored:
        shots.setdefault(task, set()).add(count)
    names = sorted(task for task, counts in shots.items() if len(counts) == 1)
    first: dict[str, str] = {}
    for name in names:
        card = card_of(name)
        is_member = card is not None and not same_task(card.name, name) and card.name not in shots
        first.setdefault(card.name if card is not None and is_member else name, name)
    chosen = _spread(list(first.values()), MOST_SIBLINGS)
    rest = _spread([name for name in names if name not in chosen], MOST_SIBLINGS - len(chosen))
    return sorted([*chosen, *rest])


def _spread(names: Sequence[str], count: int) -> list[str]:
    places = np.unique(np.round(np.linspace(0, len(names) - 1, min(count, len(names)))).astype(int))
    return [names[place] for place in places]
