"""What must hold before a task enters the file: later every metric divides by these numbers."""

from __future__ import annotations

from math import isfinite

from forecast.core.errors import InputError
from forecast.core.records import GeneratedAnswer, ItemRecord, ScoredShard, TaskRecord

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
        _check_item(task.task, item, task.output_type)


def _check_item(task: str, item: ItemRecord, output_type: str) -> None:
    place = f"item {item.item_idx} of task {task}"
    choices = len(item.choices)
    if not item.choices and output_type == "generate_until":
        # Judged by what a model writes alone: no one text is the answer.
        return
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
    columns = (shard.loglikelihoods, shard.n_tokens, shard.is_greedy)
    optional = (shard.gold_token_loglikelihoods, shard.generations)
    if any(len(column) != rows for column in columns) or any(len(column) not in (0, rows) for column in optional):
        raise InputError(f"a shard of run {shard.run_id} has columns of different lengths", expected=f"{rows} entries in each")
    generations = shard.generations or ((),) * rows
    for item, values, tokens, greedy, answers in zip(shard.item_idx, *columns, generations, strict=True):
        place = f"item {item} of run {shard.run_id}"
        if not len(values) == len(tokens) == len(greedy) or not (values or answers):
            raise InputError(f"{place} has {len(values)} loglikelihoods and {len(tokens)} token counts")
        limits = [min(_NATS_PER_TOKEN * count, _LARGEST_KNOWN) if count else _LARGEST_UNKNOWN for count in tokens]
        # Infinities and NaN fail the comparison.
        if not all(-limit < value < limit for value, limit in zip(values, limits, strict=True)):
            raise InputError(
                f"{place} has the loglikelihoods {list(values)}",
                expected=f"finite numbers, below {max(limits):g} nats",
                remedy="check the checkpoint's weights",
            )
        _check_answers(place, answers)
    for item, tokens, by_token in zip(shard.item_idx, shard.n_tokens, shard.gold_token_loglikelihoods, strict=False):
        _check_by_token(f"item {item} of run {shard.run_id}", tokens, by_token)


def _check_by_token(place: str, tokens: tuple[int, ...], by_token: tuple[float, ...]) -> None:
    if by_token and len(by_token) not in tokens:
        raise InputError(
            f"{place} has the loglikelihoods of {len(by_token)} tokens", expected=f"those of a choice of {list(tokens)} tokens"
        )
    if not all(-_NATS_PER_TOKEN < value < _NATS_PER_TOKEN for value in by_token):
        raise InputError(f"{place} has the tokens' loglikelihoods {list(by_token)}", expected="finite numbers")


def _check_answers(place: str, answers: tuple[GeneratedAnswer, ...]) -> None:
    if [answer.sample_idx for answer in answers] != list(range(len(answers))):
        found = [answer.sample_idx for answer in answers]
        raise InputError(f"{place} has answers of the numbers {found[:5]}", expected=f"0 to {len(answers) - 1}, in order")
    for answer in answers:
        if answer.n_tokens < 0:
            raise InputError(f"{place} has an answer of {answer.n_tokens} tokens", expected="0 or more")
        for name, value in answer.values.items():
            if not isfinite(value):
                raise InputError(f"{place} has {value} as {name} of answer {answer.sample_idx}", expected="a finite number")
