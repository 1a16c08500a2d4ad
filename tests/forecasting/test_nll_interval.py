"""The interval of a forecast NLL: it holds the truth as often as it says, and scatter does not average away."""

from __future__ import annotations

import numpy as np
import pytest

from forecast.core.forecasts import Target
from forecast.core.observations import Ladder
from forecast.forecasting.engine import forecast_ladder

SCATTER = 0.03
FACTOR = 8.0


def make_family(rng: np.random.Generator, runs: int) -> tuple[Ladder, float]:
    """A power law with scatter between runs; returns the runs and the NLL of one `FACTOR` times beyond the largest."""
    log_c = np.linspace(np.log(1e18), np.log(1e21), runs)
    exponent, floor = rng.uniform(0.1, 0.3), rng.uniform(0.2, 0.6)
    everywhere = np.append(log_c, log_c[-1] + np.log(FACTOR))
    law = floor + rng.uniform(0.8, 1.6) * np.exp(-exponent * (everywhere - log_c[0]))
    nll = law * np.exp(SCATTER * rng.standard_normal(runs + 1))
    acc = 0.25 + 0.7 / (1.0 + np.exp(6.0 * (nll - 0.9)))
    flops = np.exp(log_c)
    ladder = Ladder(
        family="f",
        task="t",
        model=tuple(f"m{i}" for i in range(runs)),
        params=np.full(runs, np.nan),
        tokens=np.full(runs, np.nan),
        flops=flops,
        step=np.full(runs, np.nan),
        is_final=np.ones(runs, dtype=bool),
        metrics={"nll_per_char": nll[:-1], "acc": acc[:-1]},
        n_items=np.full(runs, 2000.0),
        chance=0.25,
    )
    return ladder, float(nll[-1])


@pytest.mark.parametrize("runs", [6, 12])
def test_the_interval_holds_the_truth_as_often_as_it_says(runs: int) -> None:
    rng = np.random.default_rng(runs)
    inside = []
    for _ in range(60):
        ladder, truth = make_family(rng, runs)
        target = Target(name="larger", flops=float(ladder.flops[-1] * FACTOR))
        estimate = forecast_ladder(ladder, [target], method="two-step", level=0.8)[0].nll
        assert estimate is not None
        assert estimate.lo < estimate.point < estimate.hi
        inside.append(estimate.lo <= truth <= estimate.hi)
    # Binomial, 60 draws at 0.8: mean 48, standard deviation 3.1. Wider than it says is tolerated more than narrower.
    assert 42 <= sum(inside) <= 59


def test_more_runs_do_not_make_it_narrower_than_their_scatter() -> None:
    ladder, _ = make_family(np.random.default_rng(0), 40)
    target = Target(name="larger", flops=float(ladder.flops[-1] * FACTOR))
    estimate = forecast_ladder(ladder, [target], method="two-step", level=0.8)[0].nll
    assert estimate is not None
    assert np.log(estimate.hi / estimate.lo) > 2 * 1.28 * SCATTER * 0.6


def test_plain_nll_is_shown_where_it_was_measured() -> None:
    ladder, _ = make_family(np.random.default_rng(1), 8)
    both = Ladder(**{**ladder.__dict__, "metrics": {**ladder.metrics, "nll_choice_norm": ladder.metrics["nll_per_char"] + 0.3}})
    estimate = forecast_ladder(both, [Target(name="larger", flops=float(ladder.flops[-1] * FACTOR))])[0].nll
    assert estimate is not None
    assert estimate.metric == "nll_per_char"
