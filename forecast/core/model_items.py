"""One model's answers to one task, item by item, as a comparison of models reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from forecast.core.observations import FloatArray


@dataclass(frozen=True, kw_only=True)
class StoredRun:
    """A complete run, named as in the view `runs`."""

    run_id: str
    task_id: str
    family: str
    model: str
    revision: str
    step: int | None
    is_final: bool
    task: str
    num_fewshot: int
    dtype: str

    def __str__(self) -> str:
        """Model, revision and precision, where there are several of either."""
        return " ".join(part for part in (self.model, self.revision, self.dtype) if part)


@dataclass(frozen=True, kw_only=True)
class ModelItems:
    """A run's items; all columns are of one length, in the order of the items."""

    run: StoredRun
    key: tuple[str, ...]
    """Hash of prompt, choices and gold answer: the same question put in the same way has the same key."""
    group: tuple[str, ...]
    """Passage or subject of each item, empty where none is known."""
    item_idx: tuple[int, ...]
    values: Mapping[str, FloatArray]
    """Metric -> (items,) values, NaN where an item has none; right and wrong as 1 and 0."""
