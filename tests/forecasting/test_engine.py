from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from forecast.core.errors import NotForecastableError, UsageError
from forecast.core.forecasts import Target, Verdict
from forecast.core.observations import Ladder
from forecast.forecasting import forecast_ladder
from forecast.forecasting.calibration import DEGREES
from forecast.forecasting.engine import QUANTILES
from forecast.forecasting.predictive import student

Simulate = Callable[..., Ladder]
TARGET = Target(name="big", params=3e9, tokens=6e10, flops=6 * 3e9 * 6e10)


def _flat(ladder: Ladder, value: float) -> Ladder:
    return replace(ladder, metrics={**ladder.metrics, "acc": np.full(len(ladder), value)})


def test_a_forecast_is_complete_and_repeats_itself(simulate: Simulate) -> None:
    ladder = simulate()
    (first,), (second,) = (forecast_ladder(ladder, [TARGET], seed=3) for _ in range(2))
    assert first.accuracy == second.accuracy
    assert first.quantiles == second.quantiles
    assert 0 <= first.accuracy.lo < first.accuracy.point < first.accuracy.hi <= 1
    assert first.nll is not None
    assert first.nll.lo <= first.nll.point <= first.nll.hi
    assert first.backtest.origins > 0
    assert first.fitted_on.n_runs == len(ladder)
    assert first.curves is not None
    assert first.truth is None
    assert first.reasons


def test_the_order_of_rows_does_not_matter(simulate: Simulate) -> None:
    ladder = simulate()
    turned = ladder.take(np.arange(len(ladder))[::-1].copy())
    (a,), (b,) = forecast_ladder(ladder, [TARGET]), forecast_ladder(turned, [TARGET])
    assert a.accuracy.point == pytest.approx(b.accuracy.point, abs=2e-3)


def test_higher_levels_are_wider_and_quantiles_rise(simulate: Simulate) -> None:
    ladder = simulate()
    (half,), (nearly,) = (forecast_ladder(ladder, [TARGET], level=level) for level in (0.5, 0.95))
    assert nearly.accuracy.lo < half.accuracy.lo < half.accuracy.hi < nearly.accuracy.hi
    values = [nearly.quantiles[p] for p in sorted(nearly.quantiles)]
    assert values == sorted(values)


def test_everything_a_forecast_says_is_read_off_its_distribution(simulate: Simulate) -> None:
    (made,) = forecast_ladder(simulate(), [TARGET], level=0.8)
    expected = made.distribution
    assert expected is not None
    assert made.accuracy.point == expected.median
    assert (made.accuracy.lo, made.accuracy.hi) == pytest.approx(expected.interval(0.8), abs=1e-12)
    assert made.quantiles == {p: pytest.approx(expected.quantile(p), abs=1e-12) for p in made.quantiles}
    risk = expected.cdf(made.accuracy.point - 0.05) + expected.probability_above(made.accuracy.point + 0.05)
    assert any(f"{risk:.0%}" in reason or f"{risk:.1%}" in reason for reason in made.reasons)
    assert made.probability_above(made.accuracy.point) == pytest.approx(0.5, abs=1e-3)
    assert made.probability_above(made.accuracy.hi) == pytest.approx(0.1, abs=1e-3)


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.1, 50.0, float("nan")])
def test_a_threshold_is_a_fraction(simulate: Simulate, threshold: float) -> None:
    (made,) = forecast_ladder(simulate(), [TARGET])
    with pytest.raises(UsageError, match="threshold"):
        made.probability_above(threshold)
    with pytest.raises(UsageError, match="without its distribution"):
        replace(made, distribution=None).probability_above(0.5)


def test_the_members_give_the_same_interval_as_student_about_their_mean(simulate: Simulate) -> None:
    """Today's predictive distribution is a t with five degrees of freedom, cut off at 0 and 1."""
    center, scale = np.array([0.5, 0.02, np.nan]), np.array([0.02, 0.03, 0.02])
    found = student(center, scale)
    assert found[2] is None
    for k in (0, 1):
        for p in QUANTILES:
            t = float(stats.t.ppf(p, DEGREES))
            assert found[k].quantile(p) == pytest.approx(np.clip(center[k] + scale[k] * t, 0.0, 1.0), abs=1e-12)


def test_a_recipe_shift_widens_and_says_so(simulate: Simulate) -> None:
    ladder = simulate()
    (plain,), (shifted,) = forecast_ladder(ladder, [TARGET]), forecast_ladder(ladder, [TARGET], recipe_shift=0.05)
    assert shifted.accuracy.hi - shifted.accuracy.lo > plain.accuracy.hi - plain.accuracy.lo
    assert any("recipe" in warning for warning in shifted.warnings)


def test_further_targets_are_less_certain(simulate: Simulate) -> None:
    ladder = simulate()
    top = ladder.flops.max()
    near, far = forecast_ladder(ladder, [Target(name="near", flops=2 * top), Target(name="far", flops=50 * top)])
    assert far.accuracy.hi - far.accuracy.lo > near.accuracy.hi - near.accuracy.lo
    (absurd,) = forecast_ladder(ladder, [Target(name="absurd", flops=1e9 * top)])
    assert absurd.verdict is Verdict.NOT_PREDICTABLE
    assert any("beyond runs that span" in reason for reason in absurd.reasons)


def test_runs_at_chance_are_not_predictable(simulate: Simulate) -> None:
    ladder = simulate(hardness=-2.0)
    (forecast,) = forecast_ladder(ladder, [TARGET])
    assert forecast.verdict is Verdict.NOT_PREDICTABLE
    assert any("at chance" in reason for reason in forecast.reasons)
    assert forecast.accuracy.point == pytest.approx(0.25, abs=0.1)


def test_two_runs_are_never_called_predictable(simulate: Simulate) -> None:
    ladder = simulate(sizes=2, ratios=(5.0, 10.0, 20.0, 40.0))
    two = replace(ladder, model=tuple(f"m{i // 4}" for i in range(8)), is_final=np.arange(8) % 4 == 3)
    (forecast,) = forecast_ladder(two, [TARGET])
    assert forecast.fitted_on.n_runs == 2
    assert forecast.verdict is Verdict.NOT_PREDICTABLE
    assert forecast.backtest.origins == 0


def test_non_finite_metrics_are_left_out_and_named(simulate: Simulate) -> None:
    ladder = simulate()
    acc = ladder.metrics["acc"].copy()
    acc[2] = np.nan
    (forecast,) = forecast_ladder(replace(ladder, metrics={**ladder.metrics, "acc": acc}), [TARGET])
    assert forecast.fitted_on.n_runs == len(ladder) - 1
    assert any("no finite acc" in warning for warning in forecast.warnings)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda ladder: ladder.take(np.array([0])), "1 usable run"),
        (lambda ladder: ladder.take(np.array([], dtype=np.intp)), "no accuracy"),
        (lambda ladder: replace(ladder, flops=np.full(len(ladder), np.nan)), "no checkpoint .* has known training FLOPs"),
        (lambda ladder: replace(ladder, flops=np.full(len(ladder), 1e18)), "nearly the same training FLOPs"),
        (lambda ladder: _flat(ladder, np.nan), "no accuracy"),
        (lambda ladder: _flat(ladder, 0.6), "have the same acc, 0.6"),
        (lambda ladder: ladder.take(np.array([0, 9])), "only 2 usable checkpoints"),
    ],
)
def test_too_little_to_fit_is_one_clear_error(simulate: Simulate, change: Callable[[Ladder], Ladder], words: str) -> None:
    with pytest.raises(NotForecastableError, match=words):
        forecast_ladder(change(simulate()), [TARGET])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"level": 1.0}, "level"),
        ({"method": "crystal-ball"}, "unknown method"),
        ({"metric": "f1"}, "metric 'f1'"),
        ({"method": "item-level"}, "per-item"),
        ({"recipe_shift": -0.1}, "recipe shift"),
    ],
)
def test_wrong_options_are_usage_errors(simulate: Simulate, options: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        forecast_ladder(simulate(), [TARGET], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "target",
    [Target(name="x"), Target(name="x", params=1e9), Target(name="x", flops=-1.0), Target(name="x", flops=float("nan"))],
)
def test_targets_that_say_too_little_are_usage_errors(simulate: Simulate, target: Target) -> None:
    with pytest.raises(UsageError, match="target 'x'"):
        forecast_ladder(simulate(), [target])


def test_a_target_by_params_and_tokens_is_the_target_by_flops(simulate: Simulate) -> None:
    ladder = simulate()
    by_size, both = forecast_ladder(ladder, [Target(name="a", params=3e9, tokens=6e10), TARGET])
    assert by_size.target.flops == pytest.approx(TARGET.flops)
    assert by_size.accuracy.point == pytest.approx(both.accuracy.point)


def test_a_target_below_all_runs_is_never_called_predictable(simulate: Simulate) -> None:
    ladder = simulate(sizes=6)
    smallest = float(ladder.flops.min())
    near, far = (
        forecast_ladder(ladder, [Target(name="small", flops=smallest / factor)], method="direct")[0] for factor in (5.0, 1e9)
    )
    assert near.verdict is not Verdict.PREDICTABLE
    assert any("less compute than the smallest run" in reason for reason in near.reasons)
    assert far.verdict is Verdict.NOT_PREDICTABLE


def test_a_target_that_contradicts_itself_is_said(simulate: Simulate) -> None:
    ladder = simulate(sizes=6)
    target = Target(name="x", params=1e10, tokens=2e11, flops=1e25)
    assert any(
        "times what its parameters and tokens cost" in warning for warning in forecast_ladder(ladder, [target])[0].warnings
    )


def test_accuracies_of_0_and_1_are_never_predictable(simulate: Simulate) -> None:
    ladder = simulate()
    jumps = replace(ladder, metrics={"acc": np.where(np.arange(len(ladder)) % 3 == 0, 0.0, 1.0)}, n_items=None, chance=0.0)
    (forecast,) = forecast_ladder(jumps, [Target(name="t", flops=3 * float(ladder.flops[-1]))])
    assert forecast.backtest.mae is not None
    assert forecast.backtest.mae > 0.1
    assert forecast.verdict is not Verdict.PREDICTABLE
    said = f"the mean error was {100 * forecast.backtest.mae:.1f} points"
    assert any(said in reason for reason in forecast.reasons)


def test_without_a_back_test_nothing_is_predictable(simulate: Simulate) -> None:
    ladder = simulate(sizes=4, ratios=(20.0,), items=100_000, run_noise=0.0)
    same = replace(ladder, flops=float(ladder.flops[0]) * np.array([1.0, 1.6, 1.601, 1.602]))
    (forecast,) = forecast_ladder(same, [Target(name="inside", flops=float(same.flops[-1]))])
    assert forecast.backtest.origins == 0
    assert forecast.verdict is not Verdict.PREDICTABLE
    assert any("No back-test was possible" in reason for reason in forecast.reasons)


def test_a_row_that_no_run_can_have_is_left_out_and_counted(simulate: Simulate) -> None:
    ladder = simulate()
    flops = ladder.flops.copy()
    flops[3] = 1e308
    (forecast,) = forecast_ladder(replace(ladder, flops=flops), [Target(name="t", flops=1e22)])
    (without,) = forecast_ladder(ladder.take(np.arange(len(ladder)) != 3), [Target(name="t", flops=1e22)])
    assert forecast.accuracy == without.accuracy
    assert forecast.warnings[0] == "Left out: 1 of 10 checkpoints (parameters, tokens or FLOPs that no training run has)."


def test_an_nll_beyond_its_metric_is_not_shown(simulate: Simulate) -> None:
    ladder = simulate()
    # Far below the smallest run the law's NLL per character leaves what a model can lose.
    steep = 1.0 + 98.0 * (ladder.flops / ladder.flops.min()) ** -1.5
    changed = replace(ladder, metrics={**ladder.metrics, "nll_per_char": steep, "nll_choice_norm": steep})
    (inside,) = forecast_ladder(changed, [Target(name="t", flops=float(ladder.flops[-1]))])
    (below,) = forecast_ladder(changed, [Target(name="t", flops=float(ladder.flops[0]) / 1000)])
    assert inside.nll is not None
    assert inside.nll.hi <= 100
    assert below.nll is None


def test_the_smooth_measure_that_is_meant_is_shown(simulate: Simulate) -> None:
    ladder = simulate()
    targets = [Target(name="t", flops=1e22)]
    (plain,), (meant,) = (
        forecast_ladder(ladder, targets),
        forecast_ladder(replace(ladder, nll_metric="nll_choice_norm"), targets),
    )
    assert plain.nll is not None
    assert meant.nll is not None
    assert (plain.nll.metric, meant.nll.metric) == ("nll_per_char", "nll_choice_norm")
    assert plain.accuracy == meant.accuracy
