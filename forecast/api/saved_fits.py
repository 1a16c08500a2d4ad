"""Fits that are kept: stored with hashes of their rows and of the code, and listed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from forecast.api.fit import FittedLaw
from forecast.core.errors import InputError
from forecast.core.hashing import content_hash
from forecast.core.plain_json import to_plain
from forecast.forecasting.provenance import code_version


def save_fit(fitted: FittedLaw, db: Path) -> str:
    """Store a fit and return its id, a hash of what it says and of the rows it was made from.

    Raises:
        StoreError: the file cannot be written.
    """
    from forecast.store import Store

    report = fitted.report
    payload = to_plain(report)
    assert isinstance(payload, dict)
    return Store(db).save_fit(
        law=report.law,
        family=report.family,
        task=report.task,
        status=report.status,
        data_hash=rows_hash(fitted),
        code_version=code_version(),
        payload=payload,
    )


def rows_hash(fitted: FittedLaw) -> str:
    """Hash of the rows that were fitted: run, inputs, y and what weighs them; their order does not matter."""
    result, data = fitted.result, fitted.data
    columns = [*result.points.x.T, result.points.y, result.points.sigma, result.points.weights]
    items = getattr(result.loss, "n_items", None)
    if items is not None:
        columns.append(np.broadcast_to(np.asarray(items, dtype=np.float64), result.points.y.shape))
    rows = sorted([run, *map(float, values)] for run, *values in zip(data.runs, *columns, strict=True))
    return content_hash([data.family, data.task, data.num_fewshot, dict(fitted.report.x), fitted.report.y, rows])


def stored_fits(db: Path) -> list[dict[str, object]]:
    """Return all stored fits, oldest first, each with its `report` as `forecast fit --json` printed it.

    Raises:
        InputError: there is no such file.
    """
    from forecast.store import Store

    if not db.exists():
        raise InputError(f"there is no {db}", expected="a results file", remedy="store a fit with `forecast fit LAW --save`")
    rows = Store(db).fits()
    for row in rows:
        row["report"] = json.loads(str(row.pop("payload")))
    return rows
