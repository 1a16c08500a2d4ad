"""Tasks of a family beside those that are asked for: their back-tests help to scale intervals."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from forecast.catalog.task_facts import card_of, same_task
from forecast.observations.sources import Measured

MOST_SIBLINGS = 17
"""Tasks of a family that share the scale of their intervals: more say nothing new and take time."""


def choose_siblings(measured: Sequence[Measured], num_fewshot: int | None) -> list[str]:
    """Return up to 17 tasks of one family, the same whichever are asked for."""
    return sibling_names(_counted(measured, num_fewshot))


def _counted(measured: Sequence[Measured], num_fewshot: int | None) -> list[tuple[str, int | None]]:
    """Tasks with each number of shots, or with the one that is asked for."""
    return [(entry.task, entry.num_fewshot) for entry in measured if num_fewshot in (None, entry.num_fewshot)]


def undecided(measured: Sequence[Measured], asked: Collection[str], num_fewshot: int | None) -> tuple[str, ...]:
    """A sentence on the siblings that are left out because only a number of shots would decide how to read them."""
    shots: dict[str, set[int | None]] = {}
    for task, count in _counted(measured, num_fewshot):
        shots.setdefault(task, set()).add(count)
    count = sum(len(counts) > 1 for task, counts in shots.items() if task not in asked)
    if not count:
        return ()
    return (
        f"Left out: {count} other tasks of the family, measured with several numbers of shots, do not help to scale the"
        " interval (--num-fewshot decides).",
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
