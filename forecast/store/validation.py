"""What must hold before a task enters the file: later every metric divides by these numbers."""

from __future__ import annotations

from forecast.core.errors import InputError
from forecast.core.records import ItemRecord, ScoredShard, TaskRecord

_NATS_PER_TOKEN = 1e6
_LARGEST_KNOWN, _LARGEST_UNKNOWN = 1e9, 1e7
"""Nats, for texts whose tokens are counted and others. Float16 logits give at most 1.3e5 a token; the sums of squares in
`scores` would overflow beyond these."""
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


def check_shard(shard: ScoredShard) -> None:
    """Check the results of some items.

    Raises:
        InputError: columns of different lengths, or a value that cannot be a loglikelihood; names the item.
    """
    rows = len(shard.item_idx)
    if not len(shard.loglikelihoods) == len(shard.n_tokens) == len(shard.is_greedy) == rows:
        raise InputError(f"a shard of run {shard.run_id} has columns of different lengths", expected=f"{rows} entries in each")
    for item, values, tokens, greedy in zip(shard.item_idx, shard.loglikelihoods, shard.n_tokens, shard.is_greedy, strict=True):
        if not len(values) == len(tokens) == len(greedy) > 0:
            raise InputError(
                f"item {item} of run {shard.run_id} has {len(values)} loglikelihoods and {len(tokens)} token counts"
            )
        limits = [min(_NATS_PER_TOKEN * count, _LARGEST_KNOWN) if count else _LARGEST_UNKNOWN for count in tokens]
        # Infinities and NaN fail the comparison.
        if not all(-limit < value < limit for value, limit in zip(values, limits, strict=True)):
            raise InputError(
                f"item {item} of run {shard.run_id} has the loglikelihoods {list(values)}",
                expected=f"finite numbers, below {max(limits):g} nats",
                remedy="check the checkpoint's weights",
            )
