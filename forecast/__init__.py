"""Capability forecasting for language-model families.

What the commands do, as a library; each name is imported when it is first used, so that `import forecast` stays light.

>>> import forecast
>>> forecast.FlopsConvention("6nd-total").name
'SIX_ND_TOTAL'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forecast.api.evaluate import evaluate
    from forecast.api.predict import predict
    from forecast.api.report import write_report
    from forecast.core.errors import ForecastError
    from forecast.core.forecasts import Forecast, IntervalEstimate, Target, Verdict
    from forecast.core.observation_rows import ObservationRow, to_ladders
    from forecast.core.observations import ItemMatrix, Ladder
    from forecast.core.records import CheckpointRequest
    from forecast.core.units import FlopsConvention, training_flops
    from forecast.evaluation.selection import select
    from forecast.forecasting.engine import forecast_ladder
    from forecast.importers import read_observations
    from forecast.laws import fit, get_law
    from forecast.report.forecast_figure import draw_forecast
    from forecast.store import Store

_HOMES = {
    "CheckpointRequest": "forecast.core.records",
    "FlopsConvention": "forecast.core.units",
    "Forecast": "forecast.core.forecasts",
    "ForecastError": "forecast.core.errors",
    "IntervalEstimate": "forecast.core.forecasts",
    "ItemMatrix": "forecast.core.observations",
    "Ladder": "forecast.core.observations",
    "ObservationRow": "forecast.core.observation_rows",
    "Store": "forecast.store",
    "Target": "forecast.core.forecasts",
    "Verdict": "forecast.core.forecasts",
    "draw_forecast": "forecast.report.forecast_figure",
    "evaluate": "forecast.api.evaluate",
    "fit": "forecast.laws",
    "forecast_ladder": "forecast.forecasting.engine",
    "get_law": "forecast.laws",
    "predict": "forecast.api.predict",
    "read_observations": "forecast.importers",
    "select": "forecast.evaluation.selection",
    "to_ladders": "forecast.core.observation_rows",
    "training_flops": "forecast.core.units",
    "write_report": "forecast.api.report",
}

__all__ = [
    "CheckpointRequest",
    "FlopsConvention",
    "Forecast",
    "ForecastError",
    "IntervalEstimate",
    "ItemMatrix",
    "Ladder",
    "ObservationRow",
    "Store",
    "Target",
    "Verdict",
    "draw_forecast",
    "evaluate",
    "fit",
    "forecast_ladder",
    "get_law",
    "predict",
    "read_observations",
    "select",
    "to_ladders",
    "training_flops",
    "write_report",
]


def __getattr__(name: str) -> object:
    """Import a public name from where it lives."""
    if name not in _HOMES:
        raise AttributeError(f"module 'forecast' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
