"""The solver against slow and independent ones, and its report of how it went."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import optimize

from forecast.laws import BetaBinomial, Binomial, FitStatus, Huber, LeastSquares, SoftL1, SoftValue, fit, get_law

RNG = np.random.default_rng(11)
C = np.geomspace(1e17, 1e22, 24)
Y = (2000.0 * C**-0.17 + 1.5) * np.exp(0.01 * RNG.standard_normal(24))
NLL = np.linspace(0.5, 1.6, 20)
ACC = 0.25 + 0.7 / (1 + np.exp(6 * (NLL - 1.0)))


@pytest.mark.parametrize(
    ("loss", "scipy_loss"), [(Huber(0.005), "huber"), (SoftL1(0.005), "soft_l1"), (LeastSquares(), "linear")]
)
def test_robust_losses_agree_with_scipy(loss: Huber | SoftL1 | LeastSquares, scipy_loss: str) -> None:
    law = get_law("power-law-offset")
    result = fit(law, C, Y, loss=loss)

    def residual(u: np.ndarray) -> np.ndarray:
        return np.log(law.predict(C[:, None], np.array([np.exp(u[0]), u[1], u[2]]))) - np.log(Y)

    found = optimize.least_squares(
        residual, [np.log(1000.0), 0.15, 1.0], loss=scipy_loss, f_scale=0.005, xtol=1e-15, ftol=1e-15, gtol=1e-15, max_nfev=5000
    )
    assert result.objective == pytest.approx(found.cost, rel=1e-6)
    assert result.objective <= found.cost * (1 + 1e-9)


def test_the_binomial_optimum_agrees_with_a_general_optimiser() -> None:
    law = get_law("sigmoid")
    n = 500.0
    y = np.random.default_rng(2).binomial(500, ACC) / 500
    result = fit(law, NLL, y, loss=Binomial(np.full(20, n)), fixed={"floor": 0.25})

    def negative_log_likelihood(u: np.ndarray) -> float:
        f = np.clip(law.predict(NLL[:, None], np.array([0.25, *u])), 1e-9, 1 - 1e-9)
        return float(-np.sum(n * (y * np.log(f) + (1 - y) * np.log(1 - f))))

    found = optimize.minimize(
        negative_log_likelihood, result.theta[1:] * 1.05, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-10}
    )
    np.testing.assert_allclose(result.theta[1:], found.x, rtol=1e-4)


def test_overdispersion_is_estimated() -> None:
    rng = np.random.default_rng(5)
    rho, n = 0.02, 400
    x = np.tile(NLL, 20)
    mean = np.tile(ACC, 20)
    s = 1 / rho - 1
    y = rng.binomial(n, rng.beta(mean * s, (1 - mean) * s)) / n
    result = fit(get_law("sigmoid"), x, y, loss=BetaBinomial(np.full(400, float(n))))
    assert result.extra["rho"] == pytest.approx(rho, rel=0.25)
    plain = fit(get_law("sigmoid"), x, y, loss=Binomial(np.full(400, float(n))))
    assert result.standard_errors["k"] > 1.0 * plain.covariance_model[2, 2] ** 0.5 * 1.5


def test_binomial_data_have_no_overdispersion() -> None:
    y = np.random.default_rng(5).binomial(400, np.tile(ACC, 20)) / 400
    result = fit(get_law("sigmoid"), np.tile(NLL, 20), y, loss=BetaBinomial(np.full(400, 400.0)))
    assert result.extra["rho"] < 1e-3


def test_a_fixed_parameter_stays_and_a_soft_one_is_pulled() -> None:
    law = get_law("sigmoid")
    x, y = np.linspace(1.1, 1.6, 12), 0.25 + 0.7 / (1 + np.exp(6 * (np.linspace(1.1, 1.6, 12) - 1.0)))
    y = y + 0.004 * np.random.default_rng(0).standard_normal(12)
    fixed = fit(law, x, y, fixed={"ceiling": 0.9, "floor": 0.25})
    assert fixed.params["ceiling"] == 0.9
    assert fixed.standard_errors["ceiling"] == 0.0
    tight = fit(law, x, y, fixed={"floor": 0.25}, soft={"ceiling": SoftValue(mean=0.8, sd=1e-4)})
    assert tight.params["ceiling"] == pytest.approx(0.8, abs=1e-3)
    loose = fit(law, x, y, fixed={"floor": 0.25}, soft={"ceiling": SoftValue(mean=0.8, sd=0.1)})
    assert loose.identified
    assert 0.01 < loose.standard_errors["ceiling"] < 0.1
    assert "ceiling" not in loose.at_bound
    bounded = fit(law, x, y, fixed={"floor": 0.25}, bounds={"ceiling": (0.5, 0.7)})
    assert 0.5 <= bounded.theta[1] <= 0.7
    assert bounded.at_bound == ("ceiling",)


def test_a_soft_value_is_a_measurement() -> None:
    """For a linear law the posterior of a normal prior is known: mean (s0^2 m + s^2 y) / (s0^2 + s^2)."""
    law = get_law("loss-offset")
    rng = np.random.default_rng(4)
    x = np.linspace(2.0, 4.0, 50)
    y = x + 0.4 + 0.1 * rng.standard_normal(50)
    data_mean, data_var = float(np.mean(y - x)), float(np.var(y - x, ddof=1) / 50)
    result = fit(law, x, y, soft={"offset": SoftValue(mean=0.3, sd=0.02)})
    expected = (data_mean / data_var + 0.3 / 0.02**2) / (1 / data_var + 1 / 0.02**2)
    assert result.params["offset"] == pytest.approx(expected, rel=1e-6)


def test_sigma_weighs_rows() -> None:
    law = get_law("loss-offset")
    x = np.array([2.0, 3.0, 4.0, 5.0])
    y = x + np.array([0.1, 0.2, 0.3, 0.8])
    sigma = np.array([0.1, 0.1, 0.2, 1.0])
    result = fit(law, x, y, sigma=sigma)
    assert result.params["offset"] == pytest.approx(float(np.average(y - x, weights=sigma**-2)), rel=1e-9)


def test_outliers_move_squares_but_not_huber() -> None:
    y = Y.copy()
    y[5] *= 1.5
    clean = fit(get_law("power-law"), C, Y).params["alpha"]
    squares = fit(get_law("power-law"), C, y).params["alpha"]
    huber = fit(get_law("power-law"), C, y, loss=Huber(0.005)).params["alpha"]
    assert abs(huber - clean) < 0.3 * abs(squares - clean)


@pytest.mark.parametrize("name", ["m4", "broken", "hestness", "sigmoid", "loss-to-loss", "kaplan-joint"])
def test_seeds_do_not_move_the_optimum(name: str) -> None:
    law = get_law(name)
    rng = np.random.default_rng(1)
    columns = [
        rng.permutation(np.geomspace(*column.typical, 40) if column.positive else np.linspace(*column.typical, 40))
        for column in law.inputs
    ]
    x = np.stack(columns, axis=-1)
    y = law.predict(x, law.vector(law.typical)) * np.exp(0.003 * rng.standard_normal(40))
    objectives = [fit(law, x, y, seed=seed).objective for seed in (0, 1, 2)]
    np.testing.assert_allclose(objectives, objectives[0], rtol=1e-6)


def test_a_result_tells_how_it_was_found_and_cannot_be_changed() -> None:
    result = fit(get_law("power-law-offset"), C, Y)
    assert result.status is FitStatus.OK
    assert 1 <= result.starts_agreed <= result.starts
    assert result.iterations > 0
    assert result.residuals.shape == (24,)
    assert 0.5 * float(np.sum(result.residuals**2)) == pytest.approx(result.objective, rel=1e-9)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.objective = 0.0  # type: ignore[misc]
    se = result.predict_se(np.array([1e24]))[0]
    assert 0 < se < 0.2
