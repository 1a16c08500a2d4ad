"""Intervals keep their level on families whose truth is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from forecast.core.observations import Ladder
from forecast.forecasting.ensemble import member_names
from forecast.forecasting.predictive import DEGREES, predict_points
from forecast.forecasting.preparation import prepare
from forecast.forecasting.rolling_origin import points_of

Simulate = Callable[..., Ladder]


def _ratios(simulate: Simulate, families: int, sizes: int, ratios: tuple[float, ...]) -> np.ndarray:
    """|error| / scale of the runs of the two largest sizes, forecast from the others."""
    found = []
    for seed in range(families):
        rng = np.random.default_rng(100 + seed)
        ladder = simulate(
            sizes=sizes + 2,
            ratios=ratios,
            growth=rng.uniform(1.6, 2.4),
            items=int(rng.choice([500, 1000, 3000])),
            hardness=rng.uniform(0.95, 1.4),
            seed=seed,
        )
        sample = prepare(ladder, metric="acc").sample
        bar = np.unique(np.round(sample.log_params, 6))[-2]
        large = sample.log_params >= bar - 1e-5
        window, held = sample.rows(~large), np.flatnonzero(large)
        prediction = predict_points(
            window, points_of(sample, held), member_names(window, "auto"), replicates=24, rng=np.random.default_rng(0)
        )
        found.append(np.abs(prediction.point - sample.accuracy[0][held]) / prediction.scale)
    return np.concatenate(found)


def test_intervals_are_neither_absurdly_narrow_nor_wide(simulate: Simulate) -> None:
    ratios = _ratios(simulate, families=8, sizes=6, ratios=(20.0,))
    assert np.mean(ratios <= stats.t.ppf(0.95, DEGREES)) >= 0.6
    assert np.mean(ratios) > 0.2


# The goal is two points; eight is what 60 families can tell. Not reached on grids of N and D: there `k` is asked of origins
# that hide whole sizes, which makes the intervals too wide for this simulator (docs/forecasting.md).
TOO_WIDE_16 = pytest.mark.xfail(reason="nominal 80 % covers 89 % at 16 runs", strict=True)
TOO_WIDE_40 = pytest.mark.xfail(reason="nominal 80 % covers 92 % at 40 runs", strict=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sizes", "ratios"),
    [
        (6, (20.0,)),
        pytest.param(8, (10.0, 40.0), marks=TOO_WIDE_16),
        pytest.param(10, (5.0, 20.0, 80.0, 160.0), marks=TOO_WIDE_40),
    ],
)
def test_nominal_coverage_from_6_to_40_runs(simulate: Simulate, sizes: int, ratios: tuple[float, ...]) -> None:
    found = _ratios(simulate, families=60, sizes=sizes, ratios=ratios)
    for level in (0.8, 0.9):
        assert np.mean(found <= stats.t.ppf(0.5 + level / 2, DEGREES)) == pytest.approx(level, abs=0.08)
