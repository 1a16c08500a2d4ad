"""What a law must refuse, and what it must survive; warnings are errors throughout."""

from __future__ import annotations

import time

import numpy as np
import pytest

from forecast.core.errors import FitError, UsageError
from forecast.laws import Binomial, FitStatus, LeastSquares, SoftValue, Space, fit, get_law
from forecast.laws.profile import normal_interval, profile_interval

C = np.geomspace(1e18, 1e22, 10)
Y = 2000.0 * C**-0.17 + 1.5
LAW = get_law("power-law-offset")


@pytest.mark.parametrize("bad", [0.0, -1e18, np.nan, np.inf])
def test_an_impossible_scale_is_named_with_its_row(bad: float) -> None:
    x = C.copy()
    x[3] = bad
    with pytest.raises(FitError, match=r"x is .* in row 3"):
        fit(LAW, x, Y)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0, 0.0])
def test_an_impossible_measurement_is_named_with_its_row(bad: float) -> None:
    y = Y.copy()
    y[4] = bad
    with pytest.raises(FitError, match=r"y is .* in row 4"):
        fit(LAW, C, y)


def test_percent_is_not_a_fraction() -> None:
    with pytest.raises(FitError, match=r"y is 63 in row 1; expected a fraction in \[0, 1\], not percent"):
        fit(get_law("sigmoid-compute"), C[:5], [0.5, 63.0, 0.7, 0.8, 0.9])


def test_a_binomial_loss_needs_a_fraction_and_counts() -> None:
    with pytest.raises(FitError, match="does not predict a fraction"):
        fit(LAW, C, Y, loss=Binomial(np.full(10, 100.0)))
    with pytest.raises(FitError, match="n_items"):
        fit(get_law("sigmoid-compute"), C, np.linspace(0.3, 0.9, 10), loss=Binomial(np.zeros(10)))


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (C, Y[:-1], "y has shape"),
        (C.reshape(5, 2), Y, "x has shape"),
        (np.empty(0), np.empty(0), "no measurements"),
        ({"flops": C}, Y, "needs the column x"),
    ],
)
def test_shapes_are_checked(x: object, y: np.ndarray, message: str) -> None:
    with pytest.raises(FitError, match=message):
        fit(LAW, x, y)  # type: ignore[arg-type]


def test_options_are_checked() -> None:
    with pytest.raises(UsageError, match="no parameter 'F'"):
        fit(LAW, C, Y, fixed={"F": 1.0})
    with pytest.raises(UsageError, match="E cannot be held at -1"):
        fit(LAW, C, Y, fixed={"E": -1.0})
    with pytest.raises(UsageError, match="both fixed and soft"):
        fit(LAW, C, Y, fixed={"E": 1.0}, soft={"E": SoftValue(mean=1.0, sd=0.1)})
    with pytest.raises(UsageError, match="every parameter is fixed"):
        fit(LAW, C, Y, fixed={"E": 1.0, "A": 1.0, "alpha": 0.1})
    with pytest.raises(FitError, match="weights are 0"):
        fit(LAW, C, Y, weights=np.zeros(10))
    with pytest.raises(FitError, match="sigma"):
        fit(LAW, C, Y, sigma=np.zeros(10))


@pytest.mark.parametrize("law_name", ["power-law", "power-law-offset", "m3", "m4", "broken", "hestness", "kaplan-compute"])
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_one_scale_only_is_said_and_not_fitted(law_name: str, rows: int) -> None:
    law = get_law(law_name)
    result = fit(law, np.full(rows, 1e20), np.linspace(2.0, 2.1, rows))
    assert result.status is FitStatus.NOT_IDENTIFIED
    assert not result.identified
    assert "1 distinct scale cannot determine" in result.reasons[0]
    assert all(np.isnan(value) for value in result.params.values())


def test_duplicated_rows_change_nothing_but_the_count() -> None:
    y = Y * np.exp(0.003 * np.random.default_rng(0).standard_normal(10))
    once = fit(LAW, C, y)
    twice = fit(LAW, np.tile(C, 2), np.tile(y, 2))
    np.testing.assert_allclose(twice.theta, once.theta, rtol=1e-5)
    by_weight = fit(LAW, C, y, weights=np.full(10, 2.0))
    np.testing.assert_allclose(by_weight.theta, once.theta, rtol=1e-5)


def test_a_constant_column_is_named() -> None:
    rng = np.random.default_rng(0)
    n = np.geomspace(1e8, 1e10, 12)
    x = np.stack([n, np.full(12, 1e11)], axis=-1)
    result = fit(get_law("chinchilla"), x, 1.8 + 480 / n**0.35 + 0.001 * rng.standard_normal(12))
    assert result.status is FitStatus.NOT_IDENTIFIED
    assert any(reason.startswith("tokens is the same in every row") for reason in result.reasons)
    assert np.isnan(result.params["B"]) or np.isnan(result.params["beta"])


def test_constant_measurements_survive() -> None:
    result = fit(get_law("power-law"), C, np.full(10, 2.5))
    assert result.params["alpha"] == pytest.approx(0.0, abs=1e-12)
    for name in ("power-law-offset", "m4", "sigmoid-compute", "chinchilla"):
        law = get_law(name)
        x = np.stack([C] * len(law.inputs), axis=-1)
        flat = fit(law, x, np.full(10, 0.5))
        assert not flat.identified
        np.testing.assert_allclose(flat.predict(x), 0.5, rtol=1e-3)


def test_a_million_points() -> None:
    rng = np.random.default_rng(0)
    x = np.exp(rng.uniform(np.log(1e18), np.log(1e22), 1_000_000))
    y = (2000.0 * x**-0.17 + 1.5) * np.exp(0.01 * rng.standard_normal(len(x)))
    begin = time.process_time()
    result = fit(LAW, x, y)
    assert result.status is FitStatus.OK
    for name, value in {"A": 2000.0, "alpha": 0.17, "E": 1.5}.items():
        assert result.params[name] == pytest.approx(value, rel=0.02)
    assert time.process_time() - begin < 120


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e6, 1e30])
def test_units_of_x_do_not_matter(scale: float) -> None:
    reference = fit(LAW, C, Y)
    result = fit(LAW, C * scale, Y)
    np.testing.assert_allclose(result.params["alpha"], reference.params["alpha"], rtol=1e-6)
    np.testing.assert_allclose(result.predict(C * scale), reference.predict(C), rtol=1e-8)


def test_rubbish_does_not_warn() -> None:
    rng = np.random.default_rng(3)
    for law_name in ("power-law-offset", "m4", "broken", "sigmoid-compute", "hestness"):
        for _ in range(3):
            x = np.exp(rng.uniform(0, 60, 8))
            result = fit(get_law(law_name), x, rng.uniform(0.01, 0.99, 8), starts=16)
            assert np.isfinite(result.objective)


def test_linear_residuals_may_be_asked_for() -> None:
    log = fit(LAW, C, Y * 1.01)
    linear = fit(LAW, C, Y * 1.01, loss=LeastSquares(Space.LINEAR))
    assert log.space is Space.LOG
    np.testing.assert_allclose(linear.theta, log.theta, rtol=1e-5)


@pytest.mark.parametrize("value", [1e300, 1e-300])
def test_sizes_whose_powers_overflow_are_named(value: float) -> None:
    strange = C.copy()
    strange[3] = value
    with pytest.raises(FitError, match=r"x is 1e[+-]300 in row 3; expected sizes from 1e-100 to 1e\+100"):
        fit(LAW, strange, Y)
    strange = Y.copy()
    strange[4] = value
    with pytest.raises(FitError, match=r"y is 1e[+-]300 in row 4"):
        fit(LAW, C, strange)


@pytest.mark.parametrize("law_name", ["cortes", "broken", "chinchilla", "deepseek-batch"])
@pytest.mark.parametrize("top", [1e99, 1e-90])
def test_extreme_sizes_neither_warn_nor_crash(law_name: str, top: float) -> None:
    law = get_law(law_name)
    rng = np.random.default_rng(0)
    x = np.stack([rng.permutation(np.geomspace(1e-8, 1.0, 24)) * top for _ in law.inputs], axis=-1)
    if law_name == "cortes":
        x[:, 1] = np.arange(24) % 2
    y = np.geomspace(3.0, 2.0, 24) * np.exp(0.01 * rng.standard_normal(24))
    result = fit(law, x, y)
    assert np.isfinite(result.objective)
    for name in result.free:
        if name not in result.unidentified:
            assert not np.isnan(profile_interval(result, name)).any()


def test_a_profile_of_noise_has_two_ends() -> None:
    """Held searches from two sides may end in different valleys, as they do for B here; an interval is found all the same."""
    rng = np.random.default_rng(18)
    law = get_law("chinchilla")
    x = np.stack([np.geomspace(1e7, 1e10, 24), rng.permutation(np.geomspace(1e9, 1e12, 24))], axis=-1)
    result = fit(law, x, np.abs(2.0 * (1 + 0.5 * rng.standard_normal(24))) + 1e-6)
    for name, value in zip(law.names, result.theta, strict=True):
        low, high = profile_interval(result, name)
        assert low <= value * (1 + 1e-6)
        assert high >= value * (1 - 1e-6)


def test_with_many_rows_the_normal_interval_is_the_profile() -> None:
    rng = np.random.default_rng(1)
    x = np.exp(rng.uniform(np.log(1e18), np.log(1e22), 4000))
    y = (1.7 + 2e3 * x**-0.18) * np.exp(0.005 * rng.standard_normal(4000))
    result = fit(get_law("power-law-offset"), x, y)
    for name in result.free:
        low, high = profile_interval(result, name)
        np.testing.assert_allclose(normal_interval(result, name), (low, high), atol=0.1 * (high - low), rtol=0)
    with pytest.raises(FitError, match="not a free parameter"):
        normal_interval(fit(get_law("power-law-offset"), x, y, fixed={"E": 1.7}), "E")
