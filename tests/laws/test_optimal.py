"""Compute-optimal frontiers: a known law's optimum must come back by every approach."""

from __future__ import annotations

import numpy as np
import pytest

from forecast.core.errors import FitError
from forecast.laws import get_law
from forecast.laws.envelope import envelope_frontier, find_envelope
from forecast.laws.isoflop import find_slices, fit_parabolas, isoflop_frontier
from forecast.laws.optimal import TrainingRuns, flops_per_param_token, parametric_frontier, published_frontier

LAW = get_law("chinchilla")
THETA = LAW.vector({"A": 400.0, "B": 400.0, "E": 1.7, "alpha": 0.34, "beta": 0.34})
"""With equal exponents and amplitudes the optimum is N = D = sqrt(C / 6) exactly: a = 0.5."""
BUDGETS = np.geomspace(1e18, 1e21, 7)


def isoflop_runs(noise: float = 0.0, seed: int = 0) -> TrainingRuns:
    """Nine sizes around the optimum at each of seven budgets."""
    rng = np.random.default_rng(seed)
    c = np.repeat(BUDGETS, 9)
    n = np.sqrt(c / 6) * np.tile(np.geomspace(0.25, 4.0, 9), len(BUDGETS))
    d = c / (6 * n)
    loss = LAW.predict(np.stack([n, d], axis=-1), THETA) * np.exp(noise * rng.standard_normal(len(c)))
    return TrainingRuns(params=n, tokens=d, flops=c, loss=loss, run=tuple(f"run-{i}" for i in range(len(c))))


def curve_runs(noise: float = 0.0) -> TrainingRuns:
    """Twenty sizes, each with thirty checkpoints along its training."""
    rng = np.random.default_rng(1)
    n = np.repeat(np.geomspace(1e8, 1e10, 20), 30)
    c = np.tile(np.geomspace(1e17, 1e22, 30), 20)
    d = c / (6 * n)
    loss = LAW.predict(np.stack([n, d], axis=-1), THETA) * np.exp(noise * rng.standard_normal(len(c)))
    runs = tuple(f"size-{i // 30}" for i in range(len(c)))
    return TrainingRuns(params=n, tokens=d, flops=c, loss=loss, run=runs)


def test_approach_three_is_exact() -> None:
    frontier, result = parametric_frontier(isoflop_runs(), replicates=0)
    assert result.identified
    assert frontier.a == pytest.approx(0.5, abs=1e-6)
    assert frontier.params(6e24) == pytest.approx(1e12, rel=1e-4)
    assert frontier.tokens(6e24) == pytest.approx(1e12, rel=1e-4)


def test_approach_three_is_the_minimum_along_a_budget() -> None:
    """Slow and obvious: scan N at fixed C for printed constants."""
    constants = (482.01, 2085.43, 1.8172, 0.3478, 0.3658)
    frontier = published_frontier("Besiroglu 2024", constants)
    for budget in (1e20, 5.76e23):
        n = np.geomspace(1e7, 1e13, 600_001)
        loss = LAW.predict(np.stack([n, budget / (6 * n)], axis=-1), np.array(constants))
        assert frontier.params(budget) == pytest.approx(n[np.argmin(loss)], rel=1e-3)
        assert 6 * frontier.params(budget) * frontier.tokens(budget) == pytest.approx(budget, rel=1e-9)


def test_besiroglu_and_hoffmann_tokens_per_parameter() -> None:
    """Besiroglu 2024, figure 5: about 20 tokens per parameter at Chinchilla's budget; Hoffmann's constants ask for about 70."""
    corrected = published_frontier("b", (482.01, 2085.43, 1.8172, 0.3478, 0.3658))
    printed = published_frontier("h", (406.4, 410.7, 1.69, 0.34, 0.28))
    assert corrected.tokens(5.76e23) / corrected.params(5.76e23) == pytest.approx(18.5, abs=3)
    assert printed.tokens(5.76e23) / printed.params(5.76e23) > 60


@pytest.mark.parametrize("by", ["params", "tokens"])
def test_isoflop_parabolas_find_the_optimum(by: str) -> None:
    runs = isoflop_runs(noise=0.001)
    slices, how = find_slices(runs)
    assert len(slices) == 7
    assert how == "7 budgets shared by runs"
    parabolas = fit_parabolas(slices, by=by)
    for parabola in parabolas:
        assert parabola.inside
        assert parabola.centre == pytest.approx(0.5 * np.log(parabola.flops / 6), abs=0.15)
    frontier, _ = isoflop_frontier(runs, by=by, replicates=200)
    assert frontier.a == pytest.approx(0.5, abs=0.03)
    low, high = frontier.interval(1e21, "a", 0.9)
    assert low < 0.5 < high
    assert high - low < 0.1
    low, high = frontier.interval(1e21, "ratio", 0.9)
    assert low < 1.0 < high


def test_isoflop_cuts_curves_where_no_budget_is_shared() -> None:
    rng = np.random.default_rng(2)
    runs = curve_runs()
    shifted = runs.flops * np.repeat(rng.uniform(0.7, 1.4, 20), 30)
    runs = TrainingRuns(
        params=runs.params,
        tokens=shifted / (6 * runs.params),
        flops=shifted,
        loss=LAW.predict(np.stack([runs.params, shifted / (6 * runs.params)], axis=-1), THETA),
        run=runs.run,
    )
    frontier, _ = isoflop_frontier(runs, by="params", replicates=0)
    assert frontier.a == pytest.approx(0.5, abs=0.05)


def test_the_envelope_finds_the_optimum() -> None:
    runs = curve_runs()
    envelope = find_envelope(runs)
    # No curve lies below its envelope.
    for curve in envelope.curves:
        inside = (np.log(envelope.flops) >= curve.log_c[0]) & (np.log(envelope.flops) <= curve.log_c[-1])
        values = np.interp(np.log(envelope.flops[inside]), curve.log_c, curve.loss)
        assert np.all(envelope.loss[inside] <= values + 1e-12)
    frontier, _ = envelope_frontier(runs, replicates=30)
    assert frontier.a == pytest.approx(0.5, abs=0.06)
    assert len(frontier.replicates) >= 25


def test_mixed_conventions_are_an_error() -> None:
    runs = isoflop_runs()
    mixed = TrainingRuns(
        params=runs.params,
        tokens=runs.tokens,
        flops=runs.flops * np.where(np.arange(len(runs)) % 2, 1.0, 0.6),
        loss=runs.loss,
        run=runs.run,
    )
    with pytest.raises(FitError, match=r"C / \(N D\) varies from 3.6 to 6"):
        parametric_frontier(mixed)
    assert flops_per_param_token(runs) == pytest.approx(6.0)


def test_what_the_runs_do_not_allow_is_said() -> None:
    runs = isoflop_runs()
    one = runs.take(np.arange(9))
    with pytest.raises(FitError, match="budgets"):
        isoflop_frontier(one, by="params")
    with pytest.raises(FitError, match="loss curve"):
        envelope_frontier(one)
    # Sizes on one side of the optimum only: the parabola's minimum is not among them.
    small = runs.take(np.flatnonzero(runs.params < 0.6 * np.sqrt(runs.flops / 6)))
    with pytest.raises(FitError):
        isoflop_frontier(small, by="params")


@pytest.mark.slow
def test_intervals_of_approach_three_cover() -> None:
    """40 repeats at nominal 90 %: at least 32 cover (binomial, p < 0.05 below)."""
    hits = 0
    for seed in range(40):
        frontier, _ = parametric_frontier(isoflop_runs(noise=0.003, seed=seed), huber_delta=0.1, replicates=150, seed=seed)
        low, high = frontier.interval(1e22, "params", 0.9)
        hits += low <= np.sqrt(1e22 / 6) <= high
    assert hits >= 32
