"""The one way from a source to the ladders that are meant: family, tasks, groups, shots, definition, measures."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from forecast.catalog.task_facts import same_task, stated_shots
from forecast.core.errors import ForecastError, NotForecastableError, UsageError
from forecast.core.ladder_choice import ChosenLadder, ShotsRule
from forecast.core.nearest import listed, require
from forecast.core.observation_rows import Notice
from forecast.core.observations import Ladder
from forecast.core.progress import Progress, SilentProgress
from forecast.observations.measures import by_rule, check_chance, choose_shots
from forecast.observations.siblings import choose_siblings, undecided
from forecast.observations.sources import Measured, Source, open_source
from forecast.observations.task_groups import asked_shots, members_of, union_of


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which ladders are asked for, and what the user says of how they were measured."""

    tasks: Sequence[str] | None = None
    """None, or none: all."""
    family: str | None = None
    """None: the only one."""
    num_fewshot: int | None = None
    chance: float | None = None
    """The accuracy of guessing."""
    where: Mapping[str, str] = field(default_factory=dict)
    """Column -> value that a table's rows must have."""

    def __post_init__(self) -> None:
        """Check what can be checked before anything is read."""
        check_chance(self.chance)
        if self.chance is not None and not self.tasks:
            raise UsageError("`chance=` without a task", expected="the tasks that have this chance level, in `task=`")


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The answer to one task that is asked for."""

    ladder: Ladder
    """The task's own ladder or its group's union, with its measures chosen."""
    members: Sequence[ChosenLadder]
    """The stored tasks behind it, with their rows."""
    measure_notes: tuple[str, ...]
    """Of the ladder's notes those on chance, which concern accuracies only."""

    @property
    def reading_notes(self) -> list[str]:
        """Notes on what was left out or chosen, whatever is made of the rows."""
        return [note for note in self.ladder.notes if note not in self.measure_notes]


@dataclass(frozen=True, kw_only=True)
class FamilyLadders:
    """What was asked for of one family, and the tasks beside."""

    asked: Sequence[Chosen]
    siblings: Sequence[Ladder] = ()
    failed: Mapping[str, ForecastError] = field(default_factory=dict)
    """Tasks that cannot be read, and why; only where one failure does not count against the others."""

    @property
    def ladders(self) -> list[Ladder]:
        """The ladders that were asked for."""
        return [entry.ladder for entry in self.asked]


def load_ladders(path: Path, wanted: Wanted, *, with_items: bool = False, progress: Progress | None = None) -> list[Ladder]:
    """Read the ladders that are meant, those with accuracies: from a results file, or from a table of observations.

    Accuracy, shots and chance are chosen by `measures`; of several definitions that with the most checkpoints is taken. What
    was chosen or left out stands in each ladder's notes.

    Raises:
        InputError: there is no such file.
        NotForecastableError: it holds no results.
        UsageError: unknown task or family, with the nearest names; or several families and none was named.
    """
    source = open_source(path, notice=(progress or SilentProgress()).notice, where=wanted.where)
    return choose(source, wanted, accuracies=True, with_items=with_items).ladders


def load_with_siblings(path: Path, wanted: Wanted, *, progress: Progress | None = None) -> tuple[list[Ladder], list[Ladder]]:
    """As `load_ladders` with items, and besides up to 17 tasks of the family, the same whichever tasks are asked for.

    Tasks that cannot be read, or not without a choice, are left out.
    """
    source = open_source(path, notice=(progress or SilentProgress()).notice, where=wanted.where)
    found = choose(source, wanted, accuracies=True, with_items=True, siblings=True)
    return found.ladders, list(found.siblings)


def load_families(path: Path, wanted: Wanted, families: Sequence[str] | None, *, notice: Notice) -> list[FamilyLadders]:
    """As `load_with_siblings`, of several families; None means all.

    A family without any of the tasks is passed over, and so is a task that cannot be read where others can, which is said.

    Raises:
        ForecastError: as `load_ladders`, where nothing can be read.
    """
    source = open_source(path, notice=notice, where=wanted.where)
    measured = _usable(source, accuracies=True)
    known = list(dict.fromkeys(entry.family for entry in measured))
    require("family", families or (), known)
    holders = _holding(measured, wanted, list(dict.fromkeys(families or known)))
    found = [
        _choose(source, measured, family, wanted, accuracies=True, with_items=True, siblings=True, lenient=True)
        for family in holders
    ]
    failed = {
        f"{family}, {task}": error for family, part in zip(holders, found, strict=True) for task, error in part.failed.items()
    }
    found = [part for part in found if part.asked]
    for note in dict.fromkeys(note for part in found for entry in part.asked for note in entry.reading_notes):
        notice(note)
    for name, reason in failed.items():
        if not found:
            raise reason
        notice(f"{name} is left out: {reason}")
    return found


def choose(
    source: Source, wanted: Wanted, *, accuracies: bool, with_items: bool = False, siblings: bool = False
) -> FamilyLadders:
    """Return the ladders of one family that are meant; errors as for `load_ladders`.

    Args:
        source: an open source.
        wanted: which ladders.
        accuracies: whether measurements without any accuracy are out of the question.
        with_items: whether the ladders asked for come with what was answered item by item.
        siblings: whether other tasks of the family are read, too.
    """
    measured = _usable(source, accuracies=accuracies)
    families = list(dict.fromkeys(entry.family for entry in measured))
    if wanted.family is not None:
        require("family", [wanted.family], families)
        families = [wanted.family]
    holding = _holding(measured, wanted, families)
    if len(holding) > 1:
        raise UsageError(
            f"{source.path} holds {len(holding)} families on these tasks ({listed(holding)})", remedy="name one with `family=`"
        )
    return _choose(
        source, measured, holding[0], wanted, accuracies=accuracies, with_items=with_items, siblings=siblings, lenient=False
    )


def _usable(source: Source, *, accuracies: bool) -> list[Measured]:
    """What can be asked for at all."""
    usable = [entry for entry in source.measured() if entry.has_accuracy or not accuracies]
    if not usable:
        kind = "accuracies" if accuracies else "results"
        raise NotForecastableError(
            f"there are no {kind} in {source.path}",
            expected=f"{kind} of several checkpoints",
            remedy="run `forecast eval` or `forecast import` first",
        )
    return usable


def _holding(measured: Sequence[Measured], wanted: Wanted, families: Sequence[str]) -> list[str]:
    """Families that were measured on any of the tasks.

    Raises:
        UsageError: some task is known of none of them.
    """
    known = {family: {entry.task for entry in measured if entry.family == family} for family in families}
    if not wanted.tasks:
        return list(families)
    holding: dict[str, None] = {}
    everything = set().union(*known.values())
    for task in wanted.tasks:
        holders = [family for family in families if _holds(task, known[family], wanted.num_fewshot)]
        if not holders:
            require("task", [task], everything)
        holding |= dict.fromkeys(holders)
    return [family for family in families if family in holding]


def _holds(task: str, known: Collection[str], num_fewshot: int | None) -> bool:
    try:
        return any(name in known for name in members_of(task, known, num_fewshot))
    except UsageError:  # Several stored names may be meant: whoever reads them says so.
        return True


def _choose(
    source: Source,
    measured: Sequence[Measured],
    family: str,
    wanted: Wanted,
    *,
    accuracies: bool,
    with_items: bool,
    siblings: bool,
    lenient: bool,
) -> FamilyLadders:
    """Read one family's ladders, and join groups; `lenient` collects failures of single tasks instead of raising them."""
    own = [entry for entry in measured if entry.family == family]
    known = sorted({entry.task for entry in own})
    groups, shots, failed = _name_groups(known, wanted, lenient=lenient)
    beside = choose_siblings(own, wanted.num_fewshot) if siblings else []
    chosen = {
        entry.ladder.task: entry
        for entry in source.ladders(
            family,
            list(dict.fromkeys([*shots, *beside])),
            shots_rule(wanted.num_fewshot, shots),
            accuracies=accuracies,
            items_of=list(shots) if with_items else (),
        )
    }
    silent = undecided(own, shots, wanted.num_fewshot) if siblings else ()
    asked = []
    for names, task in groups.items():
        try:
            said = _said(task, names, known, wanted.num_fewshot)
            if all(name in chosen for name in names):
                asked.append(_joined(task, [chosen[name] for name in names], wanted.chance, said, silent))
            elif wanted.tasks:
                raise _lacking(own, [name for name in names if name not in chosen], shots)
        except ForecastError as error:
            if not lenient:
                raise
            failed[task] = error
    if groups and not asked and not failed:
        lacking = _lacking(own, [name for name in shots if name not in chosen], shots)
        if not lenient:
            raise lacking
        failed["every task"] = lacking
    ready = {entry.ladder.task: entry.ladder for entry in asked}
    others = [ready[name] if name in ready else by_rule(chosen[name].ladder) for name in beside if name in {*ready, *chosen}]
    return FamilyLadders(asked=asked, siblings=others, failed=failed)


def _name_groups(
    known: Sequence[str], wanted: Wanted, *, lenient: bool
) -> tuple[dict[tuple[str, ...], str], dict[str, int | None], dict[str, ForecastError]]:
    """Return the stored tasks behind each task asked for, the shots said of each of them, and what cannot be meant."""
    groups: dict[tuple[str, ...], str] = {}
    shots: dict[str, int | None] = {}
    failed: dict[str, ForecastError] = {}
    for task in wanted.tasks or known:
        try:
            names = members_of(task, known, wanted.num_fewshot)
            # Two spellings of one task are one question; what a family lacks is no failure where several are asked.
            if names in groups or (lenient and not set(names) <= set(known)):
                continue
            require("task", names, known)
            shots |= {name: asked_shots(task, name, wanted.num_fewshot) for name in names}
            groups[names] = task
        except UsageError as error:
            if not lenient:
                raise
            failed[task] = error
    return groups, shots, failed


def _lacking(own: Sequence[Measured], names: Sequence[str], shots: Mapping[str, int | None]) -> UsageError:
    counts = sorted({entry.num_fewshot for entry in own if entry.task in names}, key=lambda count: (count is None, count))
    said = ", ".join("unknown" if count is None else str(count) for count in counts)
    return UsageError(
        f"{own[0].family} has no results on {', '.join(names[:4])} with {shots[names[0]]} shots",
        expected=f"shots that were measured: {said}",
        remedy="choose `num_fewshot=`, or leave it out",
    )


def _said(task: str, names: Sequence[str], stored: Collection[str], num_fewshot: int | None) -> tuple[str, ...]:
    """What is to be said where stored names state their shots, and the user left open which is meant."""
    if num_fewshot is not None or stated_shots(task) is not None:
        return ()
    kin = {other for name in names for other in stored if same_task(other, name)}
    choice = choose_shots(task, dict.fromkeys((stated_shots(name) for name in kin), 0))
    return (choice.note,) if choice is not None and choice.note and len(kin) > len(names) else ()


def _joined(
    task: str, members: Sequence[ChosenLadder], chance: float | None, said: Sequence[str], silent: Sequence[str]
) -> Chosen:
    """A task's own ladder or its group's union, with its measures chosen."""
    notes = list(said)
    ladder = union_of(task, [member.ladder for member in members], notes.append)
    ladder = replace(ladder, notes=tuple(dict.fromkeys((*notes, *ladder.notes))))
    ready = by_rule(ladder, chance=chance)
    about = by_rule(replace(ladder, notes=()), chance=chance).notes
    return Chosen(ladder=replace(ready, notes=(*ready.notes, *silent)), members=members, measure_notes=about)


def shots_rule(num_fewshot: int | None, asked: Mapping[str, int | None] | None = None) -> ShotsRule:
    """Return the rule that chooses shots: what is asked of single tasks, else of all, else `measures`."""

    def rule(_family: str, task: str, runs: Mapping[int | None, int]) -> tuple[int | None, str] | None:
        choice = choose_shots(task, runs, (asked or {}).get(task, num_fewshot))
        return None if choice is None else (choice.num_fewshot, choice.note)

    return rule
