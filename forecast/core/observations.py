"""What laws and forecasts read: one row per checkpoint and task, as columns of equal length."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from forecast.core.errors import ForecastError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class ItemMatrix:
    """Per-item results behind a `Ladder`; rows follow the ladder's rows, columns the task's items."""

    correct: Mapping[str, FloatArray]
    """Accuracy metric -> (rows, items) of 0 and 1; NaN where an item was not scored."""
    nll: Mapping[str, FloatArray]
    """Smooth metric -> (rows, items)."""


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """One family on one task: everything known of its checkpoints. Unknown numbers are NaN; rows are in no promised order.

    Raises:
        ForecastError: a column's length differs from the number of rows.
    """

    family: str
    task: str
    model: tuple[str, ...]
    """Training run of each row: rows that share it are autocorrelated and count as one run."""
    params: FloatArray
    """N, as `params_kind` says; never a mixture."""
    tokens: FloatArray
    """D, training tokens."""
    flops: FloatArray
    """C, training FLOPs by `flops_convention`."""
    step: FloatArray
    is_final: BoolArray
    """Decayed end of a run."""
    metrics: Mapping[str, FloatArray]
    """Metric name (NLL_METRICS, ACCURACY_METRICS) -> (rows,), NaN where missing."""
    sems: Mapping[str, FloatArray] = field(default_factory=dict)
    """Metric name -> standard error of its mean over items."""
    n_items: FloatArray | None = None
    chance: float = float("nan")
    """Accuracy of guessing; NaN when unknown."""
    params_kind: str = "total"
    """`total` or `non-embedding`."""
    flops_convention: str = "published"
    lr_fraction: FloatArray | None = None
    """Learning rate over its peak, where known."""
    items: ItemMatrix | None = None
    num_fewshot: int | None = None
    """Solved examples in the prompt; None when unknown."""
    definition: str = ""
    """What sets these measurements apart from others of the same task (items, precision, scorer); empty when unknown."""
    accuracy_metric: str | None = None
    """The accuracy metric chosen by the user or the task's card; None: the first measured one in the table's order."""
    nll_metric: str | None = None
    """The smooth measure to use, chosen in the same way."""
    notes: tuple[str, ...] = ()
    """Sentences on what was left out or chosen on the way, for readers of numbers derived from these rows."""

    def __post_init__(self) -> None:
        """Check that all columns have one length."""
        rows = len(self.model)
        columns: dict[str, FloatArray | BoolArray] = {
            "params": self.params,
            "tokens": self.tokens,
            "flops": self.flops,
            "step": self.step,
            "is_final": self.is_final,
            **self.metrics,
            **self.sems,
        }
        if self.n_items is not None:
            columns["n_items"] = self.n_items
        if self.lr_fraction is not None:
            columns["lr_fraction"] = self.lr_fraction
        for name, column in columns.items():
            if column.shape != (rows,):
                raise ForecastError(f"ladder column '{name}' has shape {column.shape}", expected=f"({rows},)")

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.model)

    def __repr__(self) -> str:
        """Family, task and size, in one line."""
        measured = ", ".join(self.metrics)
        return f"<Ladder {self.family} on {self.task}: {len(self)} rows of {len(set(self.model))} runs; {measured}>"

    def take(self, index: NDArray[np.intp] | BoolArray) -> Ladder:
        """Return the rows that `index` (positions or a mask) names, in its order."""
        positions = np.flatnonzero(index) if index.dtype == np.bool_ else index
        items = self.items
        if items is not None:
            items = ItemMatrix(
                correct={name: matrix[positions] for name, matrix in items.correct.items()},
                nll={name: matrix[positions] for name, matrix in items.nll.items()},
            )
        return replace(
            self,
            model=tuple(self.model[i] for i in positions),
            params=self.params[positions],
            tokens=self.tokens[positions],
            flops=self.flops[positions],
            step=self.step[positions],
            is_final=self.is_final[positions],
            metrics={name: column[positions] for name, column in self.metrics.items()},
            sems={name: column[positions] for name, column in self.sems.items()},
            n_items=None if self.n_items is None else self.n_items[positions],
            lr_fraction=None if self.lr_fraction is None else self.lr_fraction[positions],
            items=items,
        )
