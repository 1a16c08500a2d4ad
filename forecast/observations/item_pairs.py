"""Which runs are meant by the names of two models, and which items both of them answered in the same way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from forecast.catalog.task_facts import card_of
from forecast.core.errors import InputError, UsageError
from forecast.core.metrics import MetricKind, metric_named, preferred
from forecast.core.model_items import ModelItems, StoredRun
from forecast.core.nearest import require
from forecast.core.observations import FloatArray
from forecast.observations.task_groups import members_of
from forecast.store import Store

Notice = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class ItemPair:
    """Two models on the items of one task (or group) that both answered."""

    task: str
    num_fewshot: int
    metric: str
    a: FloatArray
    b: FloatArray
    clusters: tuple[str, ...] | None
    """Passage or subject of each item; None where every item stands for itself."""
    items: tuple[str, ...]
    """Name of each item: its number, in a group after its task's name."""


def model_runs(runs: Sequence[StoredRun], name: str) -> list[StoredRun]:
    """The runs of a model: `MODEL`, or `MODEL@REVISION` (`MODEL@step1000` too) where several checkpoints are stored.

    Raises:
        UsageError: no run has that name.
    """
    found = [run for run in runs if run.model == name]
    if not found and "@" in name:
        model, _, revision = name.rpartition("@")
        found = [run for run in runs if run.model == model and revision in {run.revision, f"step{run.step}"}]
    if not found:
        require("model", [name], {run.model for run in runs} | {f"{run.model}@{run.revision}" for run in runs if run.revision})
    return found


def load_pairs(
    store: Store,
    models: Sequence[str],
    *,
    tasks: Sequence[str] | None,
    metric: str | None,
    num_fewshot: int | None,
    notice: Notice,
) -> dict[tuple[str, str], list[ItemPair]]:
    """Return, for each pair of models in the order given, what both answered, task by task.

    Raises:
        UsageError: unknown names, one model twice, or several runs that may be meant.
        InputError: the models share no task, or no item of a task that was named.
    """
    if metric is not None:
        metric = metric_named(metric).name
    twice = [name for name in models if models.count(name) > 1]
    if len(models) < 2 or twice:
        raise UsageError(f"model '{twice[0]}' twice" if twice else "one model", expected="two models or more to compare")
    stored = store.runs()
    own = {name: model_runs(stored, name) for name in models}
    found: dict[tuple[str, str], list[ItemPair]] = {}
    read: dict[str, ModelItems] = {}

    def items_of(run: StoredRun) -> ModelItems:
        if run.run_id not in read:
            [read[run.run_id]] = store.model_items([run])
        return read[run.run_id]

    for a, b in combinations(models, 2):
        parts = []
        for task, members in _shared_tasks(own[a], own[b], tasks, num_fewshot).items():
            pairs = [
                _pair(items_of(_one_run(own[a], key, a, notice)), items_of(_one_run(own[b], key, b, notice)), notice)
                for key in members
            ]
            made = _joined(task, [pair for pair in pairs if pair is not None], metric)
            if made is not None:
                parts.append(made)
            elif tasks is not None:
                raise InputError(
                    f"'{a}' and '{b}' share no item of {task} that {f'has {metric}' if metric else 'can be compared'}",
                    expected="the same items, asked in the same way",
                )
        if not parts:
            raise InputError(f"'{a}' and '{b}' were not asked the same items", expected="a task that both were evaluated on")
        found[a, b] = parts
    return found


_Key = tuple[str, int]
"""Task and shots."""


def _shared_tasks(
    a: Sequence[StoredRun], b: Sequence[StoredRun], wanted: Sequence[str] | None, num_fewshot: int | None
) -> dict[str, list[_Key]]:
    """Name of each comparison -> the tasks and shots that make it up; a group is one comparison."""
    keys = {(run.task, run.num_fewshot) for run in a} & {(run.task, run.num_fewshot) for run in b}
    kept = {key for key in keys if num_fewshot is None or key[1] == num_fewshot}
    if wanted is None:
        several = {task for task, _ in kept if sum(other == task for other, _ in kept) > 1}
        return {f"{task}@{shots}shot" if task in several else task: [(task, shots)] for task, shots in sorted(kept)}
    found = {}
    for name in wanted:
        members = members_of(name, {task for task, _ in keys}, num_fewshot)
        chosen = [(task, shots) for task, shots in sorted(kept) if task in members]
        counts = {shots for _, shots in chosen}
        if not chosen:
            apart = sorted({(run.task, run.num_fewshot) for run in (*a, *b) if run.task in members or run.task == name})
            raise UsageError(
                f"{name} was not asked of both models with the same shots",
                expected="one of " + ", ".join(sorted({task for task, _ in keys})) if keys else "a task that both answered",
                remedy="; ".join(f"{task} is stored with {shots} shots" for task, shots in apart),
            )
        if len(counts) > 1:
            raise UsageError(
                f"{name} is stored with {', '.join(map(str, sorted(counts)))} shots", remedy="choose it with `num_fewshot=`"
            )
        found[name] = chosen
    return found


def _one_run(runs: Sequence[StoredRun], key: _Key, name: str, notice: Notice) -> StoredRun:
    """The run that is meant: a model's final checkpoint where several are stored; never a choice between precisions."""
    meant = [run for run in runs if (run.task, run.num_fewshot) == key]
    finals = [run for run in meant if run.is_final] or meant
    if len({(run.revision, run.step) for run in finals}) > 1:
        last = max(finals, key=lambda run: -1 if run.step is None else run.step)
        finals = [run for run in finals if (run.revision, run.step) == (last.revision, last.step)]
    if len(finals) > 1:
        full = [run for run in finals if run.dtype == "float32"]
        if len(full) != 1:
            raise UsageError(
                f"'{name}' has {len(finals)} runs on {key[0]}: " + "; ".join(map(str, finals)),
                expected="one",
                remedy="name the checkpoint as MODEL@REVISION",
            )
        finals = full
    if len(meant) > 1:
        notice(f"{name}, {key[0]}: {finals[0]} is compared, of {len(meant)} runs")
    return finals[0]


@dataclass(frozen=True, kw_only=True)
class _Shared:
    task: str
    num_fewshot: int
    a: Mapping[str, FloatArray]
    b: Mapping[str, FloatArray]
    group: tuple[str, ...]
    item_idx: tuple[int, ...]


def _pair(a: ModelItems, b: ModelItems, notice: Notice) -> _Shared | None:
    """The items that were put to both in the same words; what only one of them was asked is left out, and said."""
    task = a.run.task
    place = {pair: position for position, pair in enumerate(zip(b.item_idx, b.key, strict=True))}
    rows = [(i, place[pair]) for i, pair in enumerate(zip(a.item_idx, a.key, strict=True)) if pair in place]
    left_out = len(a.key) + len(b.key) - 2 * len(rows)
    if left_out:
        notice(
            f"{task}: {len(rows)} items are compared; {len(a.key) - len(rows)} of '{a.run.model}' and "
            f"{len(b.key) - len(rows)} of '{b.run.model}' were not asked of the other in the same words"
        )
    if a.run.dtype != b.run.dtype:
        notice(f"{task}: '{a.run.model}' was scored in {a.run.dtype} and '{b.run.model}' in {b.run.dtype}")
    if not rows:
        return None
    left, right = (np.array(side, dtype=np.intp) for side in zip(*rows, strict=True))
    return _Shared(
        task=task,
        num_fewshot=a.run.num_fewshot,
        a={name: column[left] for name, column in a.values.items()},
        b={name: column[right] for name, column in b.values.items()},
        group=tuple(a.group[i] for i in left),
        item_idx=tuple(a.item_idx[i] for i in left),
    )


def _joined(name: str, parts: Sequence[_Shared], metric: str | None) -> ItemPair | None:
    """One comparison over a task's, or a group's, items; None where the metric is known of none of them."""
    if not parts:
        return None
    measured = {key for key in parts[0].a if all(np.isfinite(part.a[key] + part.b[key]).any() for part in parts)}
    card = card_of(name)
    accuracy = preferred(measured, [MetricKind.ACCURACY], card=card.accuracy_metric if card is not None else None)
    chosen = metric or accuracy or preferred(measured, [MetricKind.SMOOTH])
    if chosen not in measured:
        return None
    known = [np.isfinite(part.a[chosen] + part.b[chosen]) for part in parts]
    several = len(parts) > 1
    groups = [
        part.group[i] or (part.task if several else f"#{part.item_idx[i]}")
        for part, mask in zip(parts, known, strict=True)
        for i in np.flatnonzero(mask)
    ]
    return ItemPair(
        task=name,
        num_fewshot=parts[0].num_fewshot,
        metric=chosen,
        a=np.concatenate([part.a[chosen][mask] for part, mask in zip(parts, known, strict=True)]),
        b=np.concatenate([part.b[chosen][mask] for part, mask in zip(parts, known, strict=True)]),
        clusters=tuple(groups) if len(set(groups)) < len(groups) else None,
        items=tuple(
            f"{part.task} {part.item_idx[i]}" if several else str(part.item_idx[i])
            for part, mask in zip(parts, known, strict=True)
            for i in np.flatnonzero(mask)
        ),
    )
