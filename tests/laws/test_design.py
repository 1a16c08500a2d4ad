"""The next run, and the compute-equivalent gain."""

from __future__ import annotations

import numpy as np
import pytest

from forecast.core.errors import FitError, UsageError
from forecast.laws import LeastSquares, fit, get_law
from forecast.laws.design import assess_candidates
from forecast.laws.equivalence import Curve, common_levels, fit_curve, gain_at, gain_curve

LAW = get_law("power-law")


def test_the_promised_variance_is_what_refitting_gives() -> None:
    """Add the candidate's row and refit: the target's variance falls as the formula says (exact in a linear model)."""
    rng = np.random.default_rng(0)
    x = np.geomspace(1e18, 1e20, 8)
    y = 60 * x**-0.06 * np.exp(0.01 * rng.standard_normal(8))
    result = fit(LAW, x, y)
    target, candidates = np.array([1e23]), np.array([[1e18], [1e19], [3e20], [1e21]])
    design = assess_candidates(result, target, candidates)
    for index, candidate in enumerate(candidates[:, 0]):
        more = fit(LAW, np.append(x, candidate), np.append(y, result.predict([[candidate]])))
        gradient = LAW.jacobian(target[None], result.theta)[0] / result.predict(target)[0]
        # Same parameters; scale the refit's covariance back to the first fit's noise.
        covariance = more.covariance_model * (result.noise_sd / more.noise_sd) ** 2
        assert design.sd_after[index] == pytest.approx(np.sqrt(gradient @ covariance @ gradient), rel=1e-6)
    assert np.argmax(design.reduction) == 3
    assert np.all(design.sd_after <= design.target_sd)


def curve(scale: float, low: float = 1e18, high: float = 1e22, noise: float = 0.002, seed: int = 0) -> Curve:
    rng = np.random.default_rng(seed)
    c = np.geomspace(low, high, 14)
    y = (2000.0 * (c / scale) ** -0.17 + 1.5) * np.exp(noise * rng.standard_normal(14))
    return fit_curve(
        get_law("power-law-offset"),
        c,
        y,
        loss=LeastSquares(),
        runs=[str(i) for i in range(14)],
        fixed={},
        soft={},
        replicates=200,
        seed=seed,
    )


def test_a_family_that_needs_three_times_the_compute_is_found() -> None:
    for gain in gain_curve(curve(1.0), curve(3.0, seed=1), confidence=0.9):
        assert gain.ratio == pytest.approx(3.0, rel=0.15)
        assert gain.lo < gain.ratio < gain.hi
    middle = gain_at(curve(1.0), curve(3.0, seed=1), 2.3, confidence=0.9)
    assert middle.lo < 3.0 < middle.hi
    assert middle.lo > 2.0
    assert middle.flops_b / middle.flops_a == pytest.approx(middle.ratio)


def test_the_gain_is_the_inverse_the_other_way_round() -> None:
    a, b = curve(1.0), curve(3.0, seed=1)
    assert gain_at(a, b, 2.3, confidence=0.9).ratio == pytest.approx(1 / gain_at(b, a, 2.3, confidence=0.9).ratio, rel=1e-9)


def test_nothing_is_said_outside_the_common_range() -> None:
    a, b = curve(1.0, 1e18, 1e19), curve(1.0, 1e21, 1e22)
    with pytest.raises(FitError, match="no level is reached by both"):
        common_levels(a, b)
    with pytest.raises(UsageError, match="outside the common range"):
        gain_at(curve(1.0), curve(3.0), 9.0, confidence=0.9)


def test_a_flat_family_cannot_be_compared() -> None:
    c = np.geomspace(1e18, 1e20, 6)
    with pytest.raises(FitError):
        fit_curve(LAW, c, np.full(6, 2.0), loss=LeastSquares(), runs=list("abcdef"), fixed={}, soft={}, replicates=50, seed=0)
