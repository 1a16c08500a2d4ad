"""From the names a user gives to the definitions of tasks: lm-eval's own and those of a user's folder. Nothing is loaded."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from forecast.core.errors import InputError, UsageError
from forecast.core.nearest import did_you_mean
from forecast.scoring.task_expansion import TaskDefinition, expand_tasks
from forecast.scoring.task_index import TaskIndex, own_index, stock_index


def read_task_names(text: str) -> list[str]:
    """Return the names in a comma-separated list, each once.

    >>> read_task_names("piqa, arc_easy,,piqa")
    ['piqa', 'arc_easy']

    Raises:
        UsageError: there is text, and no name in it.
    """
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if text and not names:
        raise UsageError(f"`tasks=` {text!r} names no task", expected="names of tasks, groups or tags, comma-separated")
    return names


def find_tasks(
    names: Sequence[str],
    *,
    include_path: Path | None,
    data_dir: Path | None,
    on_notice: Callable[[str], None],
) -> list[TaskDefinition]:
    """Return the definitions of all tasks that some names refer to; groups and tags are replaced by their members.

    Raises:
        UsageError: a name is unknown (the nearest ones are shown), or a task is asked for with two sets of settings.
        InputError: a folder is missing, or a definition cannot be read.
    """
    for folder, option in ((include_path, "`include_path=`"), (data_dir, "`data_dir=`")):
        if folder is not None and not folder.is_dir():
            raise InputError(f"{option} {folder} is not a folder", expected="an existing folder")
    if not names:
        return []
    own, broken = own_index(include_path) if include_path is not None else ({}, [])
    # A group of the folder may have members elsewhere.
    if all(name in own and own[name].kind != "group" for name in names):
        return expand_tasks(names, own)
    index = {**stock_index(), **own}
    _refuse_unknown(names, index, broken)
    for text in broken:
        on_notice(f"left out of `include_path=`: {text}")
    return expand_tasks(names, index)


def _refuse_unknown(names: Sequence[str], index: TaskIndex, broken: Sequence[str]) -> None:
    for name in names:
        if name in index or os.path.isfile(name):  # noqa: PTH113 - a name may be longer than a path can be
            continue
        if broken:
            raise InputError(
                f"task '{name}' is not in any readable file of `include_path=`: {'; '.join(broken[:3])}",
                expected="YAML task definitions",
                remedy="repair the file, or move it away if the task is not meant to be there",
            )
        raise UsageError(
            f"unknown task '{name if len(name) <= 100 else name[:99] + '…'}'",
            expected="a task, group or tag of lm-eval or of `include_path=`",
            remedy=did_you_mean(name, index, count=3) or "see `forecast tasks`",
        )
