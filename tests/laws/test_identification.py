"""What measurements do not determine is named, and what they do determine is not doubted."""

from __future__ import annotations

import numpy as np
import pytest

from forecast.laws import Binomial, FitStatus, LeastSquares, SoftValue, fit, get_law


def test_an_irreducible_term_over_a_short_range_is_not_a_number() -> None:
    rng = np.random.default_rng(0)
    x = np.geomspace(1e20, 5e20, 10)
    y = (2000 * x**-0.17 + 1.5) * np.exp(0.003 * rng.standard_normal(10))
    result = fit(get_law("power-law-offset"), x, y)
    assert result.status is FitStatus.NOT_IDENTIFIED
    assert np.isnan(result.params["E"])
    assert np.isnan(result.standard_errors["E"])
    assert "E (irreducible term) is not determined over so short a range" in result.reasons[0]
    # The curve itself is known where it was measured.
    np.testing.assert_allclose(result.predict(x), y, rtol=0.02)


def test_an_irreducible_term_over_a_long_range_is_one() -> None:
    rng = np.random.default_rng(0)
    x = np.geomspace(1e16, 1e24, 16)
    y = (2000 * x**-0.17 + 1.5) * np.exp(0.003 * rng.standard_normal(16))
    result = fit(get_law("power-law-offset"), x, y)
    assert result.identified
    assert result.params["E"] == pytest.approx(1.5, abs=0.05)


@pytest.mark.parametrize("loss", ["squares", "binomial"])
def test_a_ceiling_from_low_accuracies_is_not_a_number(loss: str) -> None:
    rng = np.random.default_rng(1)
    x = np.linspace(1.2, 1.6, 10)
    y = rng.binomial(1000, 0.25 + 0.7 / (1 + np.exp(5 * (x - 0.9)))) / 1000
    result = fit(
        get_law("sigmoid"),
        x,
        y,
        loss=Binomial(np.full(10, 1000.0)) if loss == "binomial" else LeastSquares(),
        fixed={"floor": 0.25},
    )
    assert "ceiling" in result.unidentified
    assert any("ceiling" in reason for reason in result.reasons)
    pulled = fit(get_law("sigmoid"), x, y, fixed={"floor": 0.25}, soft={"ceiling": SoftValue(mean=0.95, sd=0.03)})
    assert "ceiling" not in pulled.unidentified


def test_a_ceiling_that_was_reached_is_one() -> None:
    rng = np.random.default_rng(2)
    x = np.linspace(0.2, 1.6, 16)
    y = rng.binomial(1000, 0.25 + 0.55 / (1 + np.exp(8 * (x - 0.9)))) / 1000
    result = fit(get_law("sigmoid"), x, y, loss=Binomial(np.full(16, 1000.0)))
    assert result.identified, result.reasons
    assert result.params["ceiling"] == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize(("name", "scales"), [("power-law-offset", 2), ("chinchilla", 4), ("m4", 4), ("broken", 5)])
def test_fewer_scales_than_parameters(name: str, scales: int) -> None:
    law = get_law(name)
    x = np.repeat(np.stack([np.geomspace(*column.typical, scales) for column in law.inputs], axis=-1), 3, axis=0)
    y = law.predict(x, law.vector(law.typical)) * np.exp(0.001 * np.random.default_rng(0).standard_normal(len(x)))
    result = fit(law, x, y)
    assert result.reasons[0].startswith(f"{scales} distinct scales cannot determine the {len(law.names)} free parameters")
    assert all(np.isnan(value) for value in result.params.values())
    held = fit(law, x, y, fixed={law.names[0]: law.typical[law.names[0]], law.names[1]: law.typical[law.names[1]]})
    assert not any("distinct scales" in reason for reason in held.reasons)


def test_sizes_and_tokens_that_move_together_cannot_be_told_apart() -> None:
    """At 20 tokens per parameter throughout, both terms are powers of one number."""
    n = np.geomspace(1e8, 1e10, 14)
    x = np.stack([n, 20 * n], axis=-1)
    law = get_law("chinchilla")
    theta = law.vector({**law.typical, "alpha": 0.35, "beta": 0.35})
    rng = np.random.default_rng(0)
    result = fit(law, x, law.predict(x, theta) * np.exp(0.002 * rng.standard_normal(14)))
    assert not result.identified


def test_an_amplitude_that_vanished_is_named() -> None:
    x = np.geomspace(1e18, 1e22, 12)
    result = fit(get_law("power-law-offset"), x, np.full(12, 2.0))
    assert {"A", "alpha"} <= set(result.unidentified)
