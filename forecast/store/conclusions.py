"""Forecasts and fits as rows: key columns to search by, and the whole of it as one JSON payload."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime

import pyarrow as pa

from forecast.core.forecasts import Forecast
from forecast.core.hashing import content_hash
from forecast.core.plain_json import to_plain

_FLOAT_COLUMNS = ("target_params", "target_tokens", "target_flops", "level", "point", "lo", "hi", "truth")


KEPT = (0.001, 0.0025, *(k / 200 for k in range(1, 200)), 0.9975, 0.999)
"""Probabilities at which a stored forecast keeps its distribution, beside those of its interval."""


def forecast_table(forecast: Forecast, *, data_hash: str, code_version: str) -> pa.Table:
    """Return one row of `forecast_records`."""
    payload = to_plain(forecast)
    if isinstance(payload, dict):
        # Curves are for drawing and can be computed again; they would be most of the bytes.
        payload.pop("curves", None)
        if forecast.distribution is not None:
            payload["distribution"] = to_plain(forecast.distribution.thinned([*KEPT, *forecast.quantiles]))
    row: dict[str, object] = {
        "forecast_id": content_hash([payload, data_hash, code_version]),
        "created_at": datetime.now(UTC).isoformat(),
        "family": forecast.family,
        "task": forecast.task,
        "target": forecast.target.name,
        "target_params": forecast.target.params,
        "target_tokens": forecast.target.tokens,
        "target_flops": forecast.target.flops,
        "metric": forecast.accuracy.metric,
        "method": forecast.method,
        "level": forecast.level,
        "point": forecast.accuracy.point,
        "lo": forecast.accuracy.lo,
        "hi": forecast.accuracy.hi,
        "verdict": forecast.verdict.value,
        "data_hash": data_hash,
        "code_version": code_version,
        "truth": forecast.truth,
        "payload": json.dumps(payload, sort_keys=True, ensure_ascii=False, allow_nan=False),
    }
    return _one_row(row)


def fit_table(
    *, law: str, family: str, task: str, status: str, data_hash: str, code_version: str, payload: Mapping[str, object]
) -> pa.Table:
    """Return one row of `fits`."""
    content: dict[str, object] = {
        "family": family,
        "task": task,
        "law": law,
        "status": status,
        "data_hash": data_hash,
        "code_version": code_version,
        "payload": json.dumps(to_plain(payload), sort_keys=True, ensure_ascii=False, allow_nan=False),
    }
    return _one_row({"fit_id": content_hash(content), "created_at": datetime.now(UTC).isoformat(), **content})


def _one_row(row: Mapping[str, object]) -> pa.Table:
    schema = pa.schema([(name, pa.float64() if name in _FLOAT_COLUMNS else pa.string()) for name in row])
    return pa.Table.from_pylist([dict(row)], schema=schema)
