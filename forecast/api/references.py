"""What other families have shown: the library of published results, by task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from forecast.catalog.task_facts import task_identity
from forecast.core.nearest import require
from forecast.observations.reference_runs import library_runs


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One family's published results on one task."""

    task: str
    family: str
    source: str
    runs: int
    min_flops: float
    max_flops: float
    metric: str
    num_fewshot: int | None
    """None: the source does not say."""
    chance: float | None
    """None: unknown."""
    smooth: tuple[str, ...]
    """Smooth measures beside the accuracy."""
    licence: str


def references(tasks: str | Sequence[str] | None = None) -> list[Reference]:
    """List the published results that ship with the product, by task and family.

    Args:
        tasks: names in any spelling; None takes all.

    Raises:
        UsageError: nothing is published of a task, with the nearest names.
    """
    runs = library_runs()
    if tasks is not None:
        names = [tasks] if isinstance(tasks, str) else list(tasks)
        known = {entry.identity for entry in runs}
        require("task", [name for name in names if task_identity(name) not in known], {entry.task for entry in runs})
        wanted = {task_identity(name) for name in names}
        runs = [entry for entry in runs if entry.identity in wanted]
    return [
        Reference(
            task=entry.task,
            family=entry.family,
            source=entry.source,
            runs=len(entry.model),
            min_flops=float(entry.flops[0]),
            max_flops=float(entry.flops[-1]),
            metric=entry.metric,
            num_fewshot=entry.num_fewshot,
            chance=entry.chance if entry.chance == entry.chance else None,
            smooth=entry.smooth,
            licence=entry.licence,
        )
        for entry in sorted(runs, key=lambda entry: (entry.identity, entry.family.lower(), entry.source))
    ]
