"""Per-item results of a ladder's rows as matrices, for methods that pair or resample items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from forecast.core.metrics import ACCURACY_METRICS, METRICS, MetricKind
from forecast.core.observations import FloatArray, ItemMatrix, Ladder

_CORRECT = {name: name.replace("acc", "correct", 1) for name in ACCURACY_METRICS}
_DERIVED = "bits_per_byte"
_SMOOTH = tuple(m.name for m in METRICS if m.kind is MetricKind.SMOOTH and m.name != _DERIVED)
"""Columns of the view `item_metrics`; bits per byte are nats per byte in another unit."""
ITEM_COLUMNS = {**_CORRECT, **{name: name for name in _SMOOTH}}
"""Metric -> column of the view `item_metrics`."""


def attach_items(connection: duckdb.DuckDBPyConnection, ladder: Ladder, run_ids: Sequence[str | None]) -> Ladder:
    """Return the ladder with its items; columns are the task's items in order, NaN where a row has none of them."""
    wanted = [run_id for run_id in run_ids if run_id is not None]
    if not wanted:
        return ladder
    columns = ", ".join(f"m.{name}::DOUBLE AS {name}" for name in (*_CORRECT.values(), *_SMOOTH))
    values = connection.execute(
        f"""SELECT w.position, m.item_idx, {columns}
        FROM (SELECT unnest($runs::VARCHAR[]) AS run_id, unnest(range(len($runs))) AS position) AS w
        JOIN item_metrics AS m USING (run_id)""",
        {"runs": wanted},
    ).fetchnumpy()
    row_of = np.array([row for row, run_id in enumerate(run_ids) if run_id is not None], dtype=np.intp)
    rows = row_of[filled(values["position"]).astype(np.intp)]
    items, columns_of = np.unique(filled(values["item_idx"]), return_inverse=True)
    shape = (len(run_ids), len(items))

    def matrix(name: str) -> FloatArray:
        cells = np.full(shape, np.nan)
        cells[rows, columns_of] = filled(values[name])
        return cells

    correct = {metric: matrix(name) for metric, name in _CORRECT.items()}
    smooth = {name: matrix(name) for name in _SMOOTH}
    smooth[_DERIVED] = smooth["nll_per_byte"] / np.log(2.0)
    return replace(
        ladder,
        items=ItemMatrix(
            correct={name: cells for name, cells in correct.items() if not np.isnan(cells).all()},
            nll={name: cells for name, cells in smooth.items() if not np.isnan(cells).all()},
        ),
    )


def filled(column: NDArray[Any]) -> FloatArray:
    """DuckDB hands columns with NULLs over as masked arrays; NULL becomes NaN."""
    filled: FloatArray = np.ma.filled(column.astype(np.float64), np.nan)
    return filled
