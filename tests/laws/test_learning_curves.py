"""Laws against simulated learning, and procedures that their authors describe."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from forecast.laws import FitStatus, fit, get_law
from forecast.laws.formulas.hestness import region_borders
from forecast.laws.formulas.m4 import LAW as M4


def test_excess_risk_of_a_bernoulli_erm_falls_as_one_over_n() -> None:
    """Median excess log-loss of the add-half estimate of a coin: exponent -1."""
    rng = np.random.default_rng(0)
    p = 0.3
    sizes = np.unique(np.geomspace(50, 50_000, 16).astype(int))
    medians = []
    for n in sizes:
        q = (rng.binomial(n, p, size=40_000) + 0.5) / (n + 1)
        medians.append(np.median(special.rel_entr(p, q) + special.rel_entr(1 - p, 1 - q)))
    result = fit(get_law("erm-risk"), sizes, medians)
    assert result.status is FitStatus.OK
    assert result.params["k"] == pytest.approx(1.0, abs=0.02)
    # The excess is chi-squared with one degree of freedom over 2 n; its median is 0.4549.
    held = fit(get_law("erm-risk"), sizes, medians, fixed={"k": 1.0})
    assert held.params["c"] == pytest.approx(0.4549 / 2, rel=0.05)


def test_logistic_regression_has_excess_risk_d_over_two_n() -> None:
    """Well-specified logistic regression with d parameters: n x mean excess log-loss tends to d / 2."""
    rng = np.random.default_rng(1)
    d = 4
    truth = np.array([0.6, -0.4, 0.3, 0.2])
    test_x = rng.standard_normal((2_000, d))
    test_p = special.expit(test_x @ truth)
    sizes, excess = [300, 600, 1200, 2400], []
    for n in sizes:
        risks = []
        for _ in range(400):
            x = rng.standard_normal((n, d))
            y = rng.random(n) < special.expit(x @ truth)
            w = logistic_fit(x, y)
            q = special.expit(test_x @ w)
            risks.append(np.mean(special.rel_entr(test_p, q) + special.rel_entr(1 - test_p, 1 - q)))
        excess.append(np.mean(risks))
    result = fit(get_law("erm-risk"), sizes, excess)
    assert result.params["k"] == pytest.approx(1.0, abs=0.1)
    held = fit(get_law("erm-risk"), sizes, excess, fixed={"k": 1.0})
    assert held.params["c"] == pytest.approx(d / 2, rel=0.1)


def logistic_fit(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Maximum likelihood by Newton's method."""
    w = np.zeros(x.shape[1])
    for _ in range(12):
        p = special.expit(x @ w)
        w = w + np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x, x.T @ (y - p))
    return w


def test_cortes_pair_shares_its_limit() -> None:
    rng = np.random.default_rng(2)
    n = np.geomspace(100, 1e5, 20)
    test = 0.25 + 2.0 / n**0.5 + 0.001 * rng.standard_normal(20)
    train = 0.25 - 1.0 / n**0.5 + 0.001 * rng.standard_normal(20)
    x = np.stack([np.tile(n, 2), np.repeat([0.0, 1.0], 20)], axis=-1)
    result = fit(get_law("cortes"), x, np.concatenate([test, train]))
    assert result.params["a"] == pytest.approx(0.25, abs=0.002)
    # Cortes fits sum (2 a + (b - c) / l^alpha) and difference ((b + c) / l^alpha): the same least squares.
    design = np.stack([np.ones(20), n ** -result.params["alpha"]], axis=-1)
    total, *_ = np.linalg.lstsq(design, test + train, rcond=None)
    gap, *_ = np.linalg.lstsq(design[:, 1:], test - train, rcond=None)
    assert result.params["a"] == pytest.approx(total[0] / 2, abs=1e-5)
    assert result.params["b"] - result.params["c"] == pytest.approx(total[1], abs=1e-3)
    assert result.params["b"] + result.params["c"] == pytest.approx(gap[0], abs=1e-3)


def test_hestness_regions_are_found() -> None:
    rng = np.random.default_rng(3)
    m = np.geomspace(10, 1e9, 50)
    truth = np.array([2.0, 30.0, -0.3, 0.2])
    y = np.minimum(2.0, 30.0 * m**-0.3 + 0.2) * np.exp(0.005 * rng.standard_normal(50))
    result = fit(get_law("hestness"), m, y)
    assert result.identified, result.reasons
    first, second = region_borders(result.theta)
    true_first, true_second = region_borders(truth)
    assert first == pytest.approx(true_first, rel=0.2)
    assert second == pytest.approx(true_second, rel=0.2)


def test_m4_solves_its_own_equation() -> None:
    rng = np.random.default_rng(4)
    for _ in range(20):
        theta = np.array(
            [rng.uniform(0, 0.3), rng.uniform(0.5, 2), rng.uniform(0, 3), np.exp(rng.uniform(0, 9)), -rng.uniform(0.1, 1)]
        )
        x = np.geomspace(1e2, 1e12, 30)[:, None]
        y = M4.predict(x, theta)
        e_inf, e_0, alpha, beta, c = theta
        inside = (y - e_inf > 1e-9) & (e_0 - y > 1e-9)
        left = (y - e_inf) / (e_0 - y) ** alpha
        np.testing.assert_allclose(left[inside], beta * x[inside, 0] ** c, rtol=1e-5)
        assert np.all(np.diff(y) <= 1e-12)


def test_m4_without_sharpness_is_m2() -> None:
    x = np.geomspace(1e5, 1e9, 20)[:, None]
    np.testing.assert_allclose(
        M4.predict(x, np.array([0.1, 50.0, 0.0, 30.0, -0.35])),
        get_law("m2").predict(x, np.array([30.0, -0.35, 0.1])),
        rtol=1e-9,
    )


def test_published_constants_give_published_numbers() -> None:
    """DeepSeek's own examples are not printed; Kaplan's L(N) at GPT-3's 175e9 and Llama 3's tokens at 3.8e25 are."""
    kaplan = get_law("kaplan-params")
    assert kaplan.predict(np.array([[175e9]]), kaplan.vector(kaplan.published[0].params))[0] == pytest.approx(1.604, abs=0.002)
    llama = get_law("llama3-tokens")
    tokens = llama.predict(np.array([[3.8e25]]), llama.vector(llama.published[1].params))[0]
    assert tokens == pytest.approx(16.55e12, rel=0.02)
    chinchilla = get_law("chinchilla")
    loss = chinchilla.predict(np.array([[70e9, 1.4e12]]), chinchilla.vector(chinchilla.published[0].params))[0]
    assert loss == pytest.approx(1.9366, abs=1e-3)


def test_m4_finds_a_power_law_that_is_cut_off() -> None:
    """The first two rows lie on a plateau: the optimum is alpha = 0 with e_0 at the largest row, M2 on all other rows."""
    x = np.geomspace(1e5, 1e9, 40)
    rng = np.random.default_rng(0)
    y = np.minimum(0.2 + 1e6 * x**-1.1, 0.85) * np.exp(0.01 * rng.standard_normal(40))
    y[:20] = np.sort(y[:20])[::-1]
    assert 0.2 + 1e6 * x[1] ** -1.1 > 0.85 > 0.2 + 1e6 * x[7] ** -1.1
    found = fit(get_law("m4"), x, y, bounds={"e_0": (0.0, 1.0)})
    assert found.starts_agreed == found.starts
    best = min(
        0.5 * float(np.sum((np.log(np.minimum(fit(get_law("m2"), x[k:], y[k:]).predict(x), y.max())) - np.log(y)) ** 2))
        for k in range(1, 8)
    )
    assert found.objective <= best * (1 + 1e-9)
    at_cut = get_law("m4").vector({"e_inf": 0.2, "e_0": 0.85, "alpha": 0.0, "beta": 1e6, "c": -1.1})
    np.testing.assert_allclose(get_law("m4").jacobian(np.array([[1e5]]), at_cut), [[0.0, 1.0, 0.0, 0.0, 0.0]], atol=1e-12)
