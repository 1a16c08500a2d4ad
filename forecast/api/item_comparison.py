"""Compare models item by item: is A better than B, and could this benchmark have told?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from forecast.core.names import read_names
from forecast.laws.paired import SIGNIFICANCE, PairedDifference, holm, paired_difference

if TYPE_CHECKING:
    from forecast.core.progress import Progress
    from forecast.observations.item_pairs import ItemPair
    from forecast.store import Store


@dataclass(frozen=True, kw_only=True, repr=False)
class ItemComparison:
    """A minus B on the items of one task that both models answered; values in the metric's unit."""

    task: str
    a: str
    b: str
    metric: str
    num_fewshot: int
    mean_a: float
    mean_b: float
    difference: float
    se: float | None
    """Standard error of the difference, by clusters where items share a passage or subject; None for a single item."""
    p_value: float
    """Two-sided, of the exact test that neither model is better."""
    p_adjusted: float
    """Adjusted for all tasks and pairs of the call, by Holm's procedure."""
    n_items: int
    n_clusters: int | None
    """Passages or subjects; None where every item stands for itself."""
    detectable: float | None
    """Smallest true difference that such a test finds with a probability of 80 %."""
    a_higher: int
    """Items on which A's value is above B's: for accuracies, that A alone has right."""
    b_higher: int
    a_higher_items: tuple[str, ...] = field(default=(), metadata={"plain": False})
    b_higher_items: tuple[str, ...] = field(default=(), metadata={"plain": False})
    warnings: tuple[str, ...] = ()

    @property
    def is_significant(self) -> bool:
        """Whether the adjusted p-value is below .05."""
        return self.p_adjusted < SIGNIFICANCE

    def __repr__(self) -> str:
        """Difference, standard error and p-value, in one line."""
        se = "" if self.se is None else f" (se {self.se:.3g})"
        return (
            f"<ItemComparison on {self.task}: {self.a} - {self.b} = {self.difference:+.3g} {self.metric}{se},"
            f" p = {self.p_value:.2g}, {self.n_items} items>"
        )


def compare_items(
    source: str | Path,
    models: str | Sequence[str],
    *,
    tasks: str | Sequence[str] | None = None,
    metric: str | None = None,
    num_fewshot: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[ItemComparison]:
    """Compare two or more models on the items that both of each pair answered.

    Args:
        source: results file.
        models: names as in the view `runs`, `MODEL` or `MODEL@REVISION`; all pairs are compared.
        tasks: benchmarks or groups, as a list or separated by commas; None takes every task that both answered.
        metric: what is compared; None takes each task's accuracy by its card, else the first measured.
        num_fewshot: shots, where a task was asked with several.
        seed: of sign patterns that are drawn, where items come in many clusters.
        progress: where notices go.

    Returns:
        One comparison per pair and task.

    Raises:
        UsageError: an unknown name, or one model twice.
        InputError: the source is not a results file, or the models share no items.
    """
    from forecast.api.notices import WarningProgress
    from forecast.core.progress import SilentProgress
    from forecast.observations.item_pairs import load_pairs

    store = _open_items(Path(source))
    shown: Progress = WarningProgress() if progress is None else progress
    said = SilentProgress()

    def notice(text: str) -> None:
        if text not in said.notices:
            said.notice(text)
            shown.notice(text)

    names = list(read_names("models", models) or ())
    pairs = load_pairs(store, names, tasks=read_names("tasks", tasks), metric=metric, num_fewshot=num_fewshot, notice=notice)
    found = [
        (a, b, pair, paired_difference(pair.a, pair.b, pair.clusters, seed=seed))
        for (a, b), own in pairs.items()
        for pair in own
    ]
    adjusted = holm([one.p_value for *_, one in found])
    return [
        _comparison(a, b, pair, one, p_adjusted, tuple(said.notices))
        for (a, b, pair, one), p_adjusted in zip(found, adjusted, strict=True)
    ]


def _open_items(path: Path) -> Store:
    from forecast.core.errors import InputError
    from forecast.importers.tables import is_table
    from forecast.observations.sources import check_exists
    from forecast.store import Store

    check_exists(path)
    if is_table(path):
        raise InputError(f"{path} is a table of means", expected="a results file (--db), where items are stored")
    return Store(path)


def _comparison(
    a: str, b: str, pair: ItemPair, one: PairedDifference, p_adjusted: float, warnings: tuple[str, ...]
) -> ItemComparison:
    return ItemComparison(
        task=pair.task,
        a=a,
        b=b,
        metric=pair.metric,
        num_fewshot=pair.num_fewshot,
        mean_a=one.mean_a,
        mean_b=one.mean_b,
        difference=one.difference,
        se=None if one.se != one.se else one.se,
        p_value=one.p_value,
        p_adjusted=p_adjusted,
        n_items=one.n_items,
        n_clusters=one.n_clusters,
        detectable=None if one.se != one.se or one.se == 0 else one.detectable,
        a_higher=one.a_higher,
        b_higher=one.b_higher,
        a_higher_items=tuple(pair.items[i] for i in (pair.a > pair.b).nonzero()[0]),
        b_higher_items=tuple(pair.items[i] for i in (pair.a < pair.b).nonzero()[0]),
        warnings=warnings,
    )
