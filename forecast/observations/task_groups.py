"""Benchmarks that lm-eval asks as a group of tasks (MMLU's subjects, BLiMP's paradigms), read as one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import numpy as np

from forecast.catalog.task_facts import card_of, same_task, stated_shots, task_key
from forecast.core.errors import NotForecastableError, UsageError
from forecast.core.hashing import content_hash
from forecast.core.observations import FloatArray, ItemMatrix, Ladder


def members_of(task: str, known: Collection[str], num_fewshot: int | None = None) -> tuple[str, ...]:
    """The stored tasks that a name stands for: itself, another spelling of it, or the members that its card lists.

    Args:
        task: the name that is asked for.
        known: names of what is stored.
        num_fewshot: the user's number of shots, where stored names state theirs.

    Raises:
        UsageError: several stored names may be meant.

    >>> members_of("mmlu", ["mmlu_anatomy", "mmlu_virology", "mmlu_pro", "piqa"])
    ('mmlu_anatomy', 'mmlu_virology')
    >>> members_of("ARC-Challenge", ["arc_challenge@0shot", "arc_challenge@5shot"], 5), members_of("piqa", ["piqa", "PIQA"])
    (('arc_challenge@5shot',), ('piqa',))
    """
    if task in known:
        return (task,)
    shots = num_fewshot if num_fewshot is not None else stated_shots(task)
    spelt = _with_shots(task, [name for name in known if same_task(name, task)], shots)
    if len(spelt) > 1:
        raise UsageError(f"'{task}' may mean {' or '.join(sorted(spelt))}", remedy="name the one that is meant")
    if spelt:
        return (spelt[0],)
    card = card_of(task)
    if card is None or not same_task(card.name, task):
        return (task,)
    keys = {task_key(member) for member in card.members}
    return tuple(sorted(_with_shots(task, [name for name in known if task_key(name) in keys], shots))) or (task,)


def _with_shots(task: str, names: Sequence[str], shots: int | None) -> list[str]:
    """Of stored names that state their shots those meant: the user's, else the card's where such there are."""
    stated = {name: stated_shots(name) for name in names}
    card = card_of(task)
    if shots is None and card is not None and card.num_fewshot in stated.values():
        shots = card.num_fewshot
    return [name for name in names if shots is None or stated[name] in (None, shots)]


def asked_shots(task: str, member: str, num_fewshot: int | None) -> int | None:
    """Return the shots that the user means by a task's name and `--num-fewshot`, None where both leave it open.

    Raises:
        UsageError: the two contradict each other.

    >>> asked_shots("mmlu 5-shot", "mmlu", None), asked_shots("mmlu", "mmlu", None)
    (5, None)
    """
    stated = stated_shots(task)
    if stated is not None and num_fewshot is not None and stated != num_fewshot:
        raise UsageError(f"'{task}' with `num_fewshot=` {num_fewshot}", expected="one number of shots")
    # A stored name that states its shots has them in the name, not necessarily as a number beside it.
    return num_fewshot if stated is None or stated_shots(member) is not None else stated


def union_of(task: str, members: Sequence[Ladder], notice: Callable[[str], None]) -> Ladder:
    """Return a task's own ladder, or its group's joined, saying so."""
    if len(members) == 1:
        return members[0]
    joined = join_tasks(task, members)
    items = 0 if joined.n_items is None else int(joined.n_items.max())
    notice(f"{task} is the union of {len(members)} tasks with {items} items, of the checkpoints that answered all")
    return joined


def join_tasks(name: str, members: Sequence[Ladder]) -> Ladder:
    """One ladder of a group: the checkpoints that answered all its tasks, every item of them counted alike.

    So does lm-eval weigh MMLU's subjects; BLiMP's tasks are of one size.

    Raises:
        NotForecastableError: no checkpoint answered all tasks, or their numbers of items are not known.
        UsageError: they were asked with different numbers of shots, or have more items together than the card says: tasks of
            another benchmark are among them.
    """
    positions = [checkpoint_rows(ladder) for ladder in members]
    common = [key for key in positions[0] if all(key in other for other in positions)]
    taken = [
        ladder.take(np.array([rows[key] for key in common], np.intp)) for ladder, rows in zip(members, positions, strict=True)
    ]
    sizes = np.array([ladder.n_items if ladder.n_items is not None else np.full(len(common), np.nan) for ladder in taken])
    if not common or not np.all(sizes > 0):
        raise NotForecastableError(
            f"no checkpoint has known numbers of items on all {len(members)} tasks of '{name}'",
            expected="every task of the group for every checkpoint",
            remedy=f"evaluate `tasks=` {name}, or name single tasks",
        )
    shots = {ladder.num_fewshot for ladder in taken}
    if len(shots) > 1:
        raise UsageError(
            f"the tasks of '{name}' were measured with shots {sorted(map(str, shots))}", remedy="choose `num_fewshot=`"
        )
    card = card_of(name)
    together, whole = float(np.max(sizes.sum(axis=0))), card.items if card is not None else None
    if whole is not None and together > whole:
        raise UsageError(
            f"the {len(members)} tasks of '{name}' have {together:.0f} items together",
            expected=f"at most the {whole} that its card states",
            remedy="name the tasks that are meant",
        )
    share = sizes / sizes.sum(axis=0)

    def mean(columns: Sequence[FloatArray]) -> FloatArray:
        return np.asarray((share * np.array(columns)).sum(axis=0))

    first = taken[0]
    return replace(
        first,
        task=name,
        metrics={key: mean([ladder.metrics[key] for ladder in taken]) for key in first.metrics if _all(taken, key)},
        sems={
            key: np.sqrt(((share * np.array([ladder.sems[key] for ladder in taken])) ** 2).sum(axis=0))
            for key in first.sems
            if all(key in ladder.sems for ladder in taken)
        },
        n_items=sizes.sum(axis=0),
        chance=float(np.median(mean([np.full(len(common), ladder.chance) for ladder in taken]))),
        items=_join_items(taken),
        definition=content_hash([[ladder.task, ladder.definition] for ladder in taken]),
        # What is said of each task alike is said once, of the group.
        notes=tuple(dict.fromkeys(note.replace(ladder.task, name) for ladder in taken for note in ladder.notes)),
    )


def checkpoint_rows(ladder: Ladder) -> dict[tuple[str, str, str], int]:
    """Return where each checkpoint is: what the tasks of a group are matched by."""
    return {(ladder.model[row], str(ladder.step[row]), str(ladder.tokens[row])): row for row in range(len(ladder))}


def _all(ladders: Sequence[Ladder], metric: str) -> bool:
    return all(metric in ladder.metrics for ladder in ladders)


def _join_items(ladders: Sequence[Ladder]) -> ItemMatrix | None:
    found = [ladder.items for ladder in ladders if ladder.items is not None]
    if len(found) < len(ladders):
        return None
    correct, nll = (
        {key: np.concatenate([part[key] for part in parts], axis=1) for key in parts[0] if all(key in part for part in parts)}
        for parts in ([items.correct for items in found], [items.nll for items in found])
    )
    return ItemMatrix(correct=correct, nll=nll)
