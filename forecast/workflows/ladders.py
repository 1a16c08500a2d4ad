"""Which ladders a forecast or a back-test reads: the tasks that are asked for, and those of the family beside them."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from forecast.catalog.benchmarks import benchmark_names
from forecast.core.errors import InputError, NotForecastableError, UsageError
from forecast.core.metrics import ACCURACY_METRICS
from forecast.core.observations import Ladder
from forecast.core.progress import Progress, SilentProgress
from forecast.importers.tables import is_table
from forecast.workflows.task_groups import members_of, stored_members, union_of

MOST_SIBLINGS = 17
"""Tasks of a family that share the scale of their intervals: more say nothing new and take time."""


def load_ladders(
    source: Path,
    *,
    tasks: Sequence[str] | None,
    family: str | None,
    num_fewshot: int | None = None,
    with_items: bool = False,
    progress: Progress | None = None,
) -> list[Ladder]:
    """Read the ladders that are meant: from a results file, or from a CSV or Parquet table of observations.

    Where a family was measured on a task by several definitions, the one with the most runs is taken and a notice says so.

    Raises:
        InputError: there is no such file.
        NotForecastableError: it holds no results.
        UsageError: unknown task or family, with the nearest names; or several families and none was named.
    """
    progress = progress or SilentProgress()
    ladders = _read(source, tasks, family, num_fewshot, with_items, progress)
    return _choose(source, ladders, tasks, family, num_fewshot, progress)


def load_with_siblings(
    source: Path,
    *,
    tasks: Sequence[str] | None,
    family: str | None,
    num_fewshot: int | None = None,
    progress: Progress | None = None,
) -> tuple[list[Ladder], list[Ladder]]:
    """As `load_ladders` with items, and besides up to 17 tasks of the family, the same whichever tasks are asked for.

    Tasks that cannot be read, or not without a choice, are left out.
    """
    progress = progress or SilentProgress()
    found = _read(source, tasks, family, num_fewshot, True, progress)
    asked = _choose(source, found, tasks, family, num_fewshot, progress)
    own = {ladder.task: ladder for ladder in asked}
    if not is_table(source):
        return asked, stored_siblings(source, asked[0].family, own, num_fewshot)
    ladders = [ladder for ladder in found if ladder.family == asked[0].family]
    ladders = [ladder for ladder in ladders if num_fewshot is None or ladder.num_fewshot == num_fewshot]
    names = sibling_names([(ladder.task, ladder.num_fewshot) for ladder in ladders])
    chosen = _one_definition_each(ladders, names, SilentProgress()) | own
    return asked, [chosen[name] for name in names if _has_accuracy(chosen[name])]


def _choose(
    source: Path,
    ladders: Sequence[Ladder],
    tasks: Sequence[str] | None,
    family: str | None,
    num_fewshot: int | None,
    progress: Progress,
) -> list[Ladder]:
    ladders = [ladder for ladder in ladders if _has_accuracy(ladder)]
    if not ladders:
        raise NotForecastableError(
            f"no results to fit in {source}", expected="accuracies of several checkpoints", remedy="run `forecast eval` first"
        )
    if family is not None:
        require("family", [family], {ladder.family for ladder in ladders})
        ladders = [ladder for ladder in ladders if ladder.family == family]
    known = sorted({ladder.task for ladder in ladders})
    wanted = {task: members_of(task, known) for task in (tasks if tasks is not None else known)}
    members = list(dict.fromkeys(name for names in wanted.values() for name in names))
    require("task", members, set(known))
    ladders = [ladder for ladder in ladders if ladder.task in members]
    families = sorted({ladder.family for ladder in ladders})
    if len(families) > 1:
        raise UsageError(
            f"{source} holds {len(families)} families on these tasks ({', '.join(families[:6])})",
            remedy="name one with --family",
        )
    if num_fewshot is not None:
        ladders = [ladder for ladder in ladders if ladder.num_fewshot == num_fewshot]
        if not ladders:
            raise UsageError(f"no results with {num_fewshot} shots on these tasks")
    chosen = _one_definition_each(ladders, members, progress)
    return [union_of(task, [chosen[name] for name in names], progress.notice) for task, names in wanted.items()]


def _read(
    source: Path,
    tasks: Sequence[str] | None,
    family: str | None,
    num_fewshot: int | None,
    with_items: bool,
    progress: Progress,
) -> list[Ladder]:
    if not source.exists():
        raise InputError(
            f"there is no {source}", expected="a results file or a table of observations", remedy="run `forecast eval` first"
        )
    if is_table(source):
        from forecast.core.observation_rows import to_ladders
        from forecast.importers import read_observations

        return to_ladders(read_observations(source, notice=progress.notice), notice=progress.notice)
    from forecast.store import Store

    store = Store(source)
    if tasks is not None:
        tasks = stored_members(store, tasks, None if family is None else [family])
    return store.ladders(
        tasks=tasks,
        families=None if family is None else [family],
        num_fewshot=num_fewshot,
        with_items=with_items,
        notice=progress.notice,
    )


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


def _one_definition_each(ladders: list[Ladder], tasks: Sequence[str], progress: Progress) -> dict[str, Ladder]:
    by_task: dict[str, list[Ladder]] = {}
    for ladder in ladders:
        by_task.setdefault(ladder.task, []).append(ladder)
    chosen = {}
    for task in tasks:
        variants = sorted(by_task[task], key=lambda ladder: -len(set(ladder.model)))
        if len(variants) > 1:
            shots = variants[0].num_fewshot
            progress.notice(
                f"{task} was measured in {len(variants)} ways that are never mixed; the one with the most runs"
                f" ({'unknown' if shots is None else shots} shots) is used; --num-fewshot chooses another"
            )
        chosen[task] = variants[0]
    return chosen


def stored_siblings(source: Path, family: str, own: Mapping[str, Ladder], num_fewshot: int | None) -> list[Ladder]:
    """Return the siblings of a family in a results file; those in `own` are at hand."""
    from forecast.store import Store

    rows = [
        row
        for part in Store(source).query("SELECT DISTINCT family, task, num_fewshot FROM observations")
        for row in part.to_pylist()
    ]
    stored = [(row["task"], row["num_fewshot"]) for row in rows if row["family"] == family]
    names = sibling_names([entry for entry in stored if num_fewshot is None or entry[1] == num_fewshot])
    others = [task for task in names if task not in own]
    found: list[Ladder] = []
    try:
        found = _read(source, others, family, num_fewshot, False, SilentProgress()) if others else []
    except UsageError:  # some task has nothing complete: each by itself
        for task in others:
            with contextlib.suppress(UsageError):
                found += _read(source, [task], family, num_fewshot, False, SilentProgress())
    chosen = {ladder.task: ladder for ladder in found} | dict(own)
    return [chosen[name] for name in names if name in chosen and _has_accuracy(chosen[name])]


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
        groups = (group for group in benchmark_names() if group not in shots and name.startswith(f"{group}_"))
        first.setdefault(next(groups, name), name)
    chosen = _spread(list(first.values()), MOST_SIBLINGS)
    rest = _spread([name for name in names if name not in chosen], MOST_SIBLINGS - len(chosen))
    return sorted([*chosen, *rest])


def _spread(names: Sequence[str], count: int) -> list[str]:
    places = np.unique(np.round(np.linspace(0, len(names) - 1, min(count, len(names)))).astype(int))
    return [names[place] for place in places]
