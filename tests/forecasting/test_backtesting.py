from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from forecast.core.errors import UsageError
from forecast.core.observations import Ladder
from forecast.forecasting.backtesting import LEVELS, auroc, backtest_ladders, score_methods
from forecast.forecasting.ensemble import MemberErrors, fit_members, member_weights, stillness
from forecast.forecasting.predictive import predict_points
from forecast.forecasting.preparation import prepare
from forecast.forecasting.sample import Points

Simulate = Callable[..., Ladder]


def test_a_simulated_family_is_back_tested_by_every_method(simulate: Simulate) -> None:
    records, _ = backtest_ladders([simulate(sizes=6, ratios=(20.0,))], methods=["auto", "direct", "two-step", "persistence"])
    scores = {score.method: score for score in score_methods(records)}
    assert set(scores) == {"auto", "direct", "two-step", "persistence"}
    assert scores["auto"].mae_common < scores["persistence"].mae_common
    assert all(len(score.coverage) == len(LEVELS) for score in scores.values())
    assert all(r.flops > r.origin_flops for r in records)


def test_two_runs_cannot_be_back_tested(simulate: Simulate) -> None:
    records, failed = backtest_ladders([simulate(sizes=2, ratios=(20.0,))])
    assert records == []
    assert "only 2 usable" in str(*failed.values())
    ladder = simulate(sizes=2, ratios=(10.0, 20.0))
    two_runs = replace(ladder, model=("a", "a", "b", "b"), is_final=np.array([False, True] * 2))
    _, failed = backtest_ladders([two_runs])
    assert "too few to hide one" in str(*failed.values())


def test_tasks_of_a_call_share_the_scale_of_their_intervals_and_nothing_else(simulate: Simulate) -> None:
    """Tasks that jump where nothing announced it make the others' intervals wider; points stay."""
    quiet = simulate(sizes=7, ratios=(20.0,), items=50_000, seed=1)
    jumps = np.array([0.3, 0.301, 0.302, 0.6, 0.601, 0.602, 0.9])
    wild = [replace(quiet, task=f"wild{i}", metrics={**quiet.metrics, "acc": jumps}) for i in range(4)]
    alone, _ = backtest_ladders([quiet], methods=["direct"])
    together, _ = backtest_ladders([*wild, quiet], methods=["direct"])
    shared = [record for record in together if record.task == quiet.task]
    assert [r.point for r in alone] == [r.point for r in shared]
    assert [r.model for r in alone] == [r.model for r in shared]
    assert all(a.width[1] < b.width[1] for a, b in zip(alone[-3:], shared[-3:], strict=True))


def test_unknown_methods_are_refused(simulate: Simulate) -> None:
    with pytest.raises(UsageError, match="unknown method"):
        backtest_ladders([simulate()], methods=["nonesuch"])


def _errors(direct: float, both: float) -> MemberErrors:
    return MemberErrors(square={"direct": direct**2, "direct-nd": both**2}, worth=1.0)


def test_weights_follow_errors_the_more_there_are() -> None:
    names = ["direct", "direct-nd"]
    few = member_weights(names, [_errors(0.01, 0.02)])
    many = member_weights(names, [_errors(0.01, 0.02)] * 8)
    assert 0.5 < few["direct"] < 0.8 < 0.95 < many["direct"] < 1.0
    assert sum(many.values()) == pytest.approx(1.0)


def test_a_member_without_a_number_is_neither_punished_nor_preferred() -> None:
    names = ["direct", "direct-nd"]
    assert member_weights(names, [_errors(0.01, np.nan)])["direct-nd"] == pytest.approx(0.5, abs=1e-3)


def test_the_random_walk_counts_by_its_back_tests_or_where_the_runs_are_still(simulate: Simulate) -> None:
    names = ["direct", "random-walk"]
    seen = [MemberErrors(square={"direct": 1e-4, "random-walk": 1e-4}, worth=1.0)] * 4
    assert member_weights(names, [])["random-walk"] == 0.0
    assert member_weights(names, [])["direct"] == 1.0
    assert 0.0 < member_weights(names, seen[:1])["random-walk"] < member_weights(names, seen)["random-walk"]
    assert member_weights(names, [], still=1.0)["random-walk"] == pytest.approx(1 / 3)
    assert member_weights(["random-walk"], []) == {"random-walk": 1.0}
    rising = prepare(simulate(sizes=6), metric="acc").sample
    rng = np.random.default_rng(0)
    flat = replace(rising, accuracy=0.25 + rising.sampling_sd * rng.standard_normal(rising.accuracy.shape))
    (moving, still) = (stillness(sample, fit_members(sample, names)) for sample in (rising, flat))
    assert moving < 0.01 < 0.3 < still <= 1.0


def test_auroc_counts_ties_as_half_and_needs_both_kinds() -> None:
    assert auroc(np.array([1.0, 1.0]), np.array([0.0, 1.0])) == 0.5
    assert np.isnan(auroc(np.array([1.0, 2.0]), np.array([1.0, 1.0])))


def test_a_curve_that_misses_its_own_runs_is_not_sure_of_the_next(simulate: Simulate) -> None:
    """Persistence has neither bootstrap nor gain to be unsure of: what it leaves over at the runs makes it wide."""
    sample = prepare(simulate(sizes=6, items=100_000), metric="acc").sample
    points = Points(log_flops=sample.log_flops.max() + np.ones(1), log_params=np.zeros(1), log_tokens=np.zeros(1))
    rng = np.random.default_rng(0)
    prediction = predict_points(sample, points, ["persistence"], replicates=8, rng=rng, with_curves=False)
    lo, hi = prediction.at(0).interval(0.64)
    assert hi - lo > np.std(sample.accuracy[0])
