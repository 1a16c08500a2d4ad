from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from forecast.core.errors import UsageError
from forecast.core.observations import Ladder
from forecast.forecasting.preparation import prepare
from forecast.forecasting.registry import all_methods, get_method
from forecast.forecasting.replicates import resample
from forecast.forecasting.rolling_origin import points_of, rolling_origins, run_ends
from forecast.forecasting.sample import Points

Simulate = Callable[..., Ladder]


@pytest.mark.parametrize("name", ["direct", "direct-nd", "two-step", "two-step-choice", "joint", "item-level", "olmo-ladder"])
def test_forecasts_a_simulated_family_better_than_persistence(simulate: Simulate, name: str) -> None:
    ladder = simulate(sizes=7, items=1500, with_items=True, hardness=1.1)
    sample = prepare(ladder, metric="acc").sample
    keep = sample.log_flops <= np.sort(sample.log_flops)[-6]
    window, held = sample.rows(keep), np.flatnonzero(~keep)
    truth = sample.accuracy[0][held]
    assert get_method(name).missing(window) is None
    found = get_method(name).fit(window).accuracy(points_of(sample, held))[0]
    naive = get_method("persistence").fit(window).accuracy(points_of(sample, held))[0]
    assert np.abs(found - truth).mean() < 0.65 * np.abs(naive - truth).mean()
    assert np.abs(found - truth).mean() < 0.1


def test_replicate_zero_is_the_data(simulate: Simulate) -> None:
    sample = prepare(simulate(), metric="acc").sample
    drawn = resample(sample, 8, np.random.default_rng(0))
    alone = get_method("direct").fit(sample).accuracy(sample.points)
    together = get_method("direct").fit(drawn).accuracy(sample.points)
    np.testing.assert_allclose(together[0], alone[0], atol=1e-6)
    assert together.std(axis=0).min() > 0


def test_redrawn_items_move_models_together_only_by_what_differs(simulate: Simulate) -> None:
    sample = prepare(simulate(with_items=True, items=200), metric="acc").sample
    assert sample.item_correct is not None
    same = sample.item_correct[:1].repeat(len(sample), axis=0)
    alike = replace(sample, item_correct=same, accuracy=same.mean(axis=1)[None, :])
    drawn = resample(alike, 20, np.random.default_rng(0))
    np.testing.assert_allclose(drawn.accuracy, drawn.accuracy[:1].repeat(20, axis=0), atol=1e-12)
    assert resample(sample, 20, np.random.default_rng(0)).accuracy.std(axis=0).min() > 0


def test_every_method_says_what_it_lacks_instead_of_failing(simulate: Simulate) -> None:
    ladder = simulate()
    bare = Ladder(
        **{
            **vars(ladder),
            "params": np.full(len(ladder), np.nan),
            "tokens": np.full(len(ladder), np.nan),
            "metrics": {"acc": ladder.metrics["acc"]},
        }
    )
    sample = prepare(bare, metric="acc").sample
    lacking = {name for name, method in all_methods().items() if method.missing(sample) is not None}
    assert lacking == set(all_methods()) - {"persistence", "direct", "random-walk"}


def test_unknown_method_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'direct-nd'"):
        get_method("direct-ndd")


def test_later_checkpoints_of_larger_runs_never_enter_an_origin(simulate: Simulate) -> None:
    ladder = simulate(sizes=4, ratios=(5.0, 10.0, 20.0))
    runs = tuple(f"size{i // 3}" for i in range(12))
    final = np.array([i % 3 == 2 for i in range(12)])
    checkpoints = Ladder(**{**vars(ladder), "model": runs, "is_final": final})
    sample = prepare(checkpoints, metric="acc").sample
    for origin in rolling_origins(sample, at_most=9):
        assert not set(sample.run[origin.fitted]) & set(sample.run[origin.held])
        assert sample.log_flops[origin.held].min() > origin.log_flops
        assert sample.log_flops[origin.fitted].max() <= origin.log_flops + 1e-9
    assert sample.is_final[run_ends(sample)].all()


def test_the_random_walk_stays_where_the_largest_runs_left_it(simulate: Simulate) -> None:
    """Beyond the runs it is flat at their level; within them it follows the data; noise of one run moves it by a part."""
    sample = prepare(simulate(sizes=8, ratios=(20.0,)), metric="acc").sample
    walk = get_method("random-walk")
    last, top = int(np.argmax(sample.log_flops)), float(sample.log_flops.max())
    far = Points(log_flops=top + np.array([0.0, 1.0, 20.0]), log_params=np.zeros(3), log_tokens=np.zeros(3))
    level = walk.fit(sample).accuracy(far)[0]
    np.testing.assert_allclose(level, level[0], rtol=1e-12)
    assert level[0] == pytest.approx(sample.accuracy[0][last], abs=0.02)
    assert np.max(np.abs(walk.fit(sample).accuracy(sample.points)[0] - sample.accuracy[0])) < 0.1
    moved = sample.accuracy.copy()
    moved[0, last] += 0.05
    shift = walk.fit(replace(sample, accuracy=moved)).accuracy(far)[0, 0] - level[0]
    assert 0.0 < shift < 0.05
