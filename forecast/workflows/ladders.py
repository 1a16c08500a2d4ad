"""Which ladders a forecast or a back-test reads: the tasks that are asked for, and those of the family beside them."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from forecast.core.errors import ForecastError, InputError, NotForecastableError, UsageError
from forecast.core.observations import ACCURACY_METRICS, Ladder
from forecast.core.progress import Progress, SilentProgress
from forecast.workflows.task_groups import members_of, stored_members, union_of

TABLES = (".csv", ".csv.gz", ".parquet")
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
    if not source.name.endswith(TABLES):
        return asked, _stored_siblings(source, asked[0].family, own, num_fewshot)
    ladders = [ladder for ladder in found if ladder.family == asked[0].family and _has_accuracy(ladder)]
    ladders = [ladder for ladder in ladders if num_fewshot is None or ladder.num_fewshot == num_fewshot]
    chosen = _one_definition_each(ladders, sorted({ladder.task for ladder in ladders}), SilentProgress())
    return asked, siblings_among([own.get(task, ladder) for task, ladder in chosen.items()])


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
    if source.name.endswith(TABLES):
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


def _stored_siblings(source: Path, family: str, own: Mapping[str, Ladder], num_fewshot: int | None) -> list[Ladder]:
    from forecast.store import Store

    rows = Store(source).query("SELECT DISTINCT family, task FROM observations")
    known = sorted({row["task"] for part in rows for row in part.to_pylist() if row["family"] == family})
    chosen = _spread(known)
    others = [task for task in chosen if task not in own]
    found: list[Ladder] = []
    try:
        found = _read(source, others, family, num_fewshot, False, SilentProgress()) if others else []
    except ForecastError:  # some task cannot be read without a choice: each by itself
        for task in others:
            with contextlib.suppress(ForecastError):
                found += _read(source, [task], family, num_fewshot, False, SilentProgress())
    by_task = {ladder.task: ladder for ladder in found if _has_accuracy(ladder)} | dict(own)
    return [by_task[task] for task in chosen if task in by_task]


def siblings_among(ladders: Sequence[Ladder]) -> list[Ladder]:
    """Return the siblings of a family whose ladders are all at hand: up to 17, evenly spread over their names."""
    chosen = {ladder.task: ladder for ladder in ladders}
    return [chosen[task] for task in _spread(sorted(chosen))]


def _spread(names: Sequence[str]) -> list[str]:
    places = np.unique(np.round(np.linspace(0, len(names) - 1, min(MOST_SIBLINGS, len(names)))).astype(int))
    return [names[place] for place in places]
