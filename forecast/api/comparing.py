"""The verbs that compare: two families by compute, and two ways of asking one family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from forecast.api.verbs import Source, selection_of, shown
from forecast.core.names import read_names

if TYPE_CHECKING:
    from forecast.api.compare import Comparison
    from forecast.api.example_gain import ExampleGain
    from forecast.core.progress import Progress


def compare(
    source: Source,
    family_a: str,
    family_b: str,
    *,
    task: str | None = None,
    where: Mapping[str, str] | None = None,
    metric: str | None = None,
    at: float | None = None,
    all_checkpoints: bool = False,
    num_fewshot: int | None = None,
    level: float = 0.9,
    replicates: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> Comparison:
    """Return how many times the compute of family A family B needs to equal it.

    Args:
        source: results file or table.
        family_a: family whose level is to be equalled.
        family_b: family that has to equal it.
        task: benchmark or text set; may be None when both have one only.
        where: column -> value that rows of a table must have.
        metric: to compare on; None takes a loss if there is one.
        at: level of the metric, in its own unit; None takes the best that both reach.
        all_checkpoints: also rows in the middle of a run.
        num_fewshot: shots, where several were measured.
        level: nominal coverage of the interval.
        replicates: of the bootstrap over runs.
        seed: of everything random.
        progress: where notices go.

    Raises:
        UsageError: the same family twice, an unknown name.
        FitError: no common range, or too few scales.
    """
    from forecast.api.compare import compare_drawn

    found, _ = compare_drawn(
        Path(source),
        family_a,
        family_b,
        selection_of(None, task, where, all_checkpoints, num_fewshot),
        metric=metric,
        at=at,
        level=level,
        replicates=replicates,
        seed=seed,
        notice=shown(progress).notice,
    )
    return found


def compare_ways(
    source: Source,
    family: str | None = None,
    *,
    task: str | None = None,
    shots: Sequence[int] | None = None,
    tasks: str | Sequence[str] | None = None,
    num_fewshot: int | None = None,
    metric: str | None = None,
    margin: float = 0.0,
    all_checkpoints: bool = False,
    level: float = 0.9,
    replicates: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> ExampleGain:
    """Return what examples, or reasoning, gain a family over compute, and from where.

    Args:
        source: results file or table.
        family: may be None when the source holds one family only.
        task: benchmark that was asked with both numbers of `shots`.
        shots: two numbers of examples: what the second gains over the first.
        tasks: two tasks instead, such as `["gsm8k", "gsm8k_cot"]`.
        num_fewshot: shots of the two tasks, where several were measured.
        metric: to compare on; None takes the task's accuracy.
        margin: least gain that counts, in the metric's own unit.
        all_checkpoints: also rows in the middle of a run.
        level: nominal coverage of the intervals.
        replicates: of the bootstrap over runs and items.
        seed: of everything random.
        progress: where notices go.

    Raises:
        UsageError: what was not measured both ways, or an unknown name.
    """
    from forecast.api.example_gain import compare_examples

    return compare_examples(
        Path(source),
        family,
        task=task,
        shots=shots,
        tasks=read_names("tasks", tasks),
        num_fewshot=num_fewshot,
        metric=metric,
        margin=margin,
        all_checkpoints=all_checkpoints,
        level=level,
        replicates=replicates,
        seed=seed,
        notice=shown(progress).notice,
    )
