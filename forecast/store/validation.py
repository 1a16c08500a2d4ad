"""What must hold before a task enters the file: later every metric divides by these numbers."""

from __future__ import annotations

from forecast.core.errors import InputError
from forecast.core.records import ItemRecord, TaskRecord

_OUTPUT_TYPES = ("multiple_choice", "loglikelihood", "loglikelihood_rolling", "generate_until")


def check_task(task: TaskRecord) -> None:
    """Check a task and its items.

    Raises:
        InputError: no items, an index twice, an empty choice, or a gold index that no choice has; names the item.
    """
    if task.output_type not in _OUTPUT_TYPES:
        raise InputError(
            f"task {task.task} has the output type {task.output_type!r}", expected="one of " + ", ".join(_OUTPUT_TYPES)
        )
    if not task.items:
        raise InputError(f"task {task.task} has no items", expected="at least one")
    seen: set[int] = set()
    for item in task.items:
        if item.item_idx in seen or item.item_idx < 0:
            raise InputError(
                f"task {task.task} has item {item.item_idx} twice, or below zero", expected="every index once, from 0"
            )
        seen.add(item.item_idx)
        _check_item(task.task, item)


def _check_item(task: str, item: ItemRecord) -> None:
    place = f"item {item.item_idx} of task {task}"
    choices = len(item.choices)
    if not choices == len(item.n_chars) == len(item.n_bytes) > 0:
        raise InputError(f"{place} has {choices} choices, {len(item.n_chars)} lengths", expected="a length for each choice")
    for index in range(choices):
        if item.n_chars[index] < 1 or item.n_bytes[index] < 1:
            raise InputError(
                f"{place} has an empty choice {index}", expected="text in every choice", remedy="leave the item out"
            )
    for gold in (item.gold, *item.golds):
        if not 0 <= gold < choices:
            raise InputError(f"{place} names choice {gold} as correct", expected=f"0 to {choices - 1}")
    if item.golds and item.gold not in item.golds:
        raise InputError(f"{place} has gold {item.gold} outside of its golds {item.golds}")
