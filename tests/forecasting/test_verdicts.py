"""Runs that say nothing about what comes next are never called predictable, however narrow the forecast."""

from __future__ import annotations

import numpy as np
import pytest

from forecast.core.forecasts import Forecast, Target, Verdict
from forecast.core.observations import Ladder
from forecast.forecasting import forecast_ladder


def _forecast(accuracy: list[float], *, chance: float = 0.0) -> Forecast:
    params = 1e8 * 2.0 ** np.arange(len(accuracy))
    ladder = Ladder(
        family="runs",
        task="quiz",
        model=tuple(f"m{i}" for i in range(len(accuracy))),
        params=params,
        tokens=20 * params,
        flops=120 * params**2,
        step=np.full(params.size, np.nan),
        is_final=np.ones(params.size, dtype=bool),
        metrics={"acc": np.array(accuracy)},
        n_items=np.full(params.size, 5000.0),
        chance=chance,
    )
    size = 1.6 * params[-1]
    (found,) = forecast_ladder(ladder, [Target(name="next", params=size, tokens=20 * size)])
    return found


@pytest.mark.parametrize(
    ("accuracy", "reason"),
    [
        ([0.0, 0.0, 0.0, 1.0, 1.0, 1.0], "exactly 0 or 1"),
        ([0.001, 0.0, 0.001, 0.002, 0.001, 0.3], "Only one run has left chance"),
        ([0.001, 0.0, 0.001, 0.002, 0.001, 0.0], "Every run is at chance"),
    ],
)
def test_runs_that_say_nothing_are_not_predictable(accuracy: list[float], reason: str) -> None:
    found = _forecast(accuracy)
    assert found.verdict is not Verdict.PREDICTABLE
    assert any(reason in sentence for sentence in found.reasons)


def test_a_smooth_rise_is_predictable() -> None:
    found = _forecast([0.42, 0.475, 0.53, 0.58, 0.625, 0.665, 0.70], chance=0.25)
    assert found.verdict is Verdict.PREDICTABLE
    assert not any("left chance" in sentence for sentence in found.reasons)


def test_a_benchmark_that_falls_is_forecast_to_fall_on_and_doubted() -> None:
    found = _forecast([0.50, 0.48, 0.455, 0.44, 0.415, 0.40], chance=0.25)
    assert found.accuracy.point < 0.40
    assert found.verdict is not Verdict.PREDICTABLE
