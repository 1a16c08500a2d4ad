from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import integrate, stats

from forecast.core.errors import NotForecastableError, UsageError
from forecast.core.observations import Ladder
from forecast.forecasting.backtesting import LEVELS, auroc, backtest_ladder, crps_student, score_methods
from forecast.forecasting.ensemble import member_weights
from forecast.forecasting.predictive import DEGREES, OriginScore, calibrate

Simulate = Callable[..., Ladder]


@pytest.mark.parametrize(("truth", "point", "scale"), [(0.5, 0.5, 0.02), (0.6, 0.5, 0.03), (0.2, 0.7, 0.1)])
def test_crps_agrees_with_its_definition(truth: float, point: float, scale: float) -> None:
    y = np.linspace(-10, 11, 2_000_001)
    z = (y - point) / scale
    square = np.where(y < truth, stats.t.cdf(z, DEGREES), stats.t.sf(z, DEGREES)) ** 2
    assert crps_student(truth, point, scale) == pytest.approx(float(integrate.trapezoid(square, y)), rel=1e-4)


def test_a_simulated_family_is_back_tested_by_every_method(simulate: Simulate) -> None:
    records = backtest_ladder(simulate(sizes=6, ratios=(20.0,)), methods=["auto", "direct", "two-step", "persistence"])
    scores = {score.method: score for score in score_methods(records)}
    assert set(scores) == {"auto", "direct", "two-step", "persistence"}
    assert scores["auto"].mae_common < scores["persistence"].mae_common
    assert all(len(score.coverage) == len(LEVELS) for score in scores.values())
    assert all(r.flops > r.origin_flops for r in records)


def test_two_runs_cannot_be_back_tested(simulate: Simulate) -> None:
    with pytest.raises(NotForecastableError, match="only 2 usable"):
        backtest_ladder(simulate(sizes=2, ratios=(20.0,)))
    ladder = simulate(sizes=2, ratios=(10.0, 20.0))
    with pytest.raises(NotForecastableError, match="too few to hide one"):
        backtest_ladder(replace(ladder, model=("a", "a", "b", "b"), is_final=np.array([False, True] * 2)))


def test_unknown_methods_are_refused(simulate: Simulate) -> None:
    with pytest.raises(UsageError, match="unknown method"):
        backtest_ladder(simulate(), methods=["nonesuch"])


def test_weights_follow_errors_but_not_all_the_way() -> None:
    names = ["direct", "direct-nd"]
    few = member_weights(names, {"direct": np.array([0.01]), "direct-nd": np.array([0.05])})
    many = member_weights(names, {"direct": np.full(50, 0.01), "direct-nd": np.full(50, 0.05)})
    assert 0.5 < few["direct"] < 0.75 < many["direct"] < 1.0
    assert sum(many.values()) == pytest.approx(1.0)


def _origin(ratio: float, share: float = 1.0) -> OriginScore:
    one = np.ones(1)
    return OriginScore(
        log_flops=0.0,
        distance=one,
        truth=ratio * one,
        by_member={},
        point=0.0 * one,
        persistence=0.0 * one,
        raw_scale=one,
        share=share,
    )


def test_calibration_grows_with_the_errors_and_with_how_much_was_fitted() -> None:
    assert calibrate([_origin(2.0)] * 20) > calibrate([_origin(2.0)]) > 1.0 > calibrate([_origin(0.2)] * 5)
    assert calibrate([_origin(2.0)]) > calibrate([_origin(2.0, share=0.3)]) > 1.0


def test_auroc_counts_ties_as_half_and_needs_both_kinds() -> None:
    assert auroc(np.array([1.0, 1.0]), np.array([0.0, 1.0])) == 0.5
    assert np.isnan(auroc(np.array([1.0, 2.0]), np.array([1.0, 1.0])))
