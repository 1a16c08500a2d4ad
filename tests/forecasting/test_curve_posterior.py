"""The posterior over curves: it covers families that jump, rise, fall or stay, and finds which of these they do."""

from __future__ import annotations

import numpy as np
import pytest

from forecast.core.observations import Ladder
from forecast.forecasting.curve_posterior import CurvePosterior, fit_curves
from forecast.forecasting.curve_priors import CurveKind, kind_probabilities, prior_curves
from forecast.forecasting.preparation import prepare
from forecast.forecasting.sample import Sample

LN10 = np.log(10.0)


def _sample(decades: np.ndarray, accuracy: np.ndarray, *, chance: float = 0.0, items: int = 1000) -> Sample:
    n = decades.size
    ladder = Ladder(
        family="curves",
        task="quiz",
        model=tuple(f"m{i}" for i in range(n)),
        params=np.full(n, np.nan),
        tokens=np.full(n, np.nan),
        flops=1e20 * 10.0**decades,
        step=np.full(n, np.nan),
        is_final=np.ones(n, dtype=bool),
        metrics={"acc": accuracy},
        n_items=np.full(n, float(items)),
        chance=chance,
    )
    return prepare(ladder, metric="acc").sample


def _probability(posterior: CurvePosterior, kind: CurveKind) -> float:
    return posterior.probabilities[kind]


def test_kinds_are_told_apart() -> None:
    x = np.linspace(0.0, 3.0, 7)
    gradual = fit_curves(_sample(x, 0.25 + 0.1 * x, chance=0.25))
    sudden = fit_curves(_sample(x, np.array([0.002, 0.0, 0.004, 0.01, 0.85, 0.93, 0.96])))
    falling = fit_curves(_sample(x, 0.48 - 0.04 * x, chance=np.nan))
    assert _probability(gradual, CurveKind.GRADUAL) > 0.9
    assert _probability(sudden, CurveKind.SUDDEN) > 0.95
    assert _probability(falling, CurveKind.FALLING) > 0.9
    for posterior in (gradual, sudden, falling):
        assert sum(posterior.probabilities.values()) == pytest.approx(1.0)


def test_near_chance_is_a_spike_with_an_upper_tail_that_grows_with_the_distance() -> None:
    x = np.linspace(0.0, 2.0, 5)
    posterior = fit_curves(_sample(x, np.array([0.002, 0.0, 0.001, 0.003, 0.002])))
    log_flops = np.log(1e20) + LN10 * (2.0 + np.array([0.1, 0.5, 1.0, 2.0]))
    values, weights = posterior.weighted_values(log_flops)
    above = weights @ (values > 0.2)
    assert weights.sum() == pytest.approx(1.0)
    assert (np.diff(above) > 0).all()
    assert above[0] < 0.05
    assert 0.02 < above[2] < 0.2 < above[3] < 0.6
    median = np.median(posterior.curves[CurveKind.SUDDEN].of_runs(log_flops), axis=0)
    assert median[1] < 0.02


def test_curves_keep_to_their_side_and_within_bounds() -> None:
    posterior = fit_curves(_sample(np.linspace(0.0, 2.0, 4), np.array([0.3, 0.25, 0.4, 0.38]), chance=0.25))
    for kind, curves in posterior.curves.items():
        upper, lower = (curves.floor, curves.ceiling) if kind is CurveKind.FALLING else (curves.ceiling, curves.floor)
        assert (upper >= lower).all()
        measured = curves.of_runs(np.linspace(40.0, 60.0, 9))
        assert ((measured >= 0.0) & (measured <= 1.0)).all()


def test_the_prior_is_the_same_everywhere_and_exact_answers_jump_more_often() -> None:
    assert prior_curves(CurveKind.SUDDEN, 50) is prior_curves(CurveKind.SUDDEN, 50)
    for guess in (0.0, 0.25, 0.5):
        assert sum(kind_probabilities(guess).values()) == pytest.approx(1.0)
    assert kind_probabilities(0.0)[CurveKind.SUDDEN] > 2 * kind_probabilities(0.25)[CurveKind.SUDDEN]


def test_more_runs_on_a_curve_narrow_it() -> None:
    def width(runs: int) -> float:
        x = np.linspace(0.0, 2.0, runs)
        curve = 0.25 + 0.65 / (1.0 + np.exp(-2.0 * (x - 1.5)))
        posterior = fit_curves(_sample(x, curve, chance=0.25))
        values, weights = posterior.weighted_values(np.array([np.log(1e20) + 2.5 * LN10]))
        mean = weights @ values[:, 0]
        return float(np.sqrt(weights @ np.square(values[:, 0] - mean)))

    assert width(12) < 0.6 * width(4)


def _truth(kind: str, x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Accuracies of a family that jumps, rises or stays, its runs shifted by their seeds."""
    shifted = x + 0.2 * rng.standard_normal(x.size)
    if kind == "jumps":
        return 0.9 / (1.0 + np.exp(-rng.uniform(2.5, 6.0) * (shifted - rng.uniform(0.5, 6.0)))), 0.0
    if kind == "rises":
        return 0.25 + 0.65 * np.exp(-np.exp(-rng.uniform(0.4, 0.9) * (shifted - rng.uniform(0.5, 3.0)))), 0.25
    return np.full(x.size, 0.25), 0.25


@pytest.mark.parametrize(("kind", "least", "most"), [("jumps", 0.8, 0.99), ("rises", 0.85, 1.0), ("stays", 0.85, 1.0)])
def test_intervals_of_the_posterior_cover(kind: str, least: float, most: float) -> None:
    """80 families of six runs each, the target .6 decades beyond; the weighted draws' central 90 %."""
    inside = []
    for seed in range(80):
        rng = np.random.default_rng([3, seed])
        x = np.r_[np.linspace(0.0, 2.0, 6), 2.6]
        p, chance = _truth(kind, x, rng)
        measured = rng.binomial(500, p) / 500
        if np.ptp(measured[:6]) == 0.0:
            continue
        posterior = fit_curves(_sample(x[:6], measured[:6], chance=chance, items=500))
        at = np.array([np.log(1e20) + 2.6 * LN10])
        parts = [curves.of_runs(at)[:, 0] for curves in posterior.curves.values()]
        shares = [
            np.full(part.size, posterior.probabilities[k] / part.size) for k, part in zip(posterior.curves, parts, strict=True)
        ]
        order = np.argsort(np.concatenate(parts))
        total = np.cumsum(np.concatenate(shares)[order])
        lo, hi = np.concatenate(parts)[order][np.searchsorted(total, [0.05, 0.95])]
        inside.append(lo <= measured[6] <= hi)
    assert least <= np.mean(inside) <= most
