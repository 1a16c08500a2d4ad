"""Every law, whichever there are: description, derivatives, recovery of known parameters under every loss it allows."""

from __future__ import annotations

import numpy as np
import pytest

from forecast.core.errors import UsageError
from forecast.laws import (
    BetaBinomial,
    Binomial,
    FitStatus,
    Huber,
    Law,
    LeastSquares,
    Loss,
    SoftL1,
    Space,
    fit,
    get_law,
    list_laws,
)

LAWS = list_laws()
ROWS = 40


def example(law: Law, rows: int = ROWS, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x over the law's typical ranges (columns in independent orders), its typical theta, and y without noise."""
    rng = np.random.default_rng(seed)
    columns = []
    for column in law.inputs:
        low, high = column.typical
        values = np.geomspace(low, high, rows) if column.positive else np.linspace(low, high, rows)
        columns.append(rng.permutation(values) if columns else values)
    x = np.stack(columns, axis=-1)
    theta = law.vector(law.typical)
    return x, theta, law.predict(x, theta)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_a_law_describes_itself(law: Law) -> None:
    assert "=" in law.formula
    assert law.title
    assert law.reference
    assert len(set(law.names)) == len(law.names)
    assert set(law.linear) <= set(law.names)
    assert get_law(law.name.replace("-", "_").upper()) is law
    for parameter in law.parameters:
        assert parameter.meaning
        assert parameter.lower <= law.typical[parameter.name] <= parameter.upper
        assert parameter.lower >= 0 or not parameter.log
    for printed in law.published:
        assert set(printed.params) == set(law.names)
        assert printed.source


def test_an_unknown_law_is_named_with_those_that_exist() -> None:
    with pytest.raises(UsageError, match=r"no law 'chinchila'.*chinchilla"):
        get_law("chinchila")


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_derivatives_are_those_of_the_formula(law: Law) -> None:
    x, theta, _ = example(law, rows=13)
    jacobian = law.jacobian(x, theta)
    assert jacobian.shape == (13, len(theta))
    v = np.random.default_rng(1).standard_normal(13)
    bend = law.curvature(x, theta, v)
    for index in range(len(theta)):
        step = 1e-6 * theta[index] if theta[index] else 1e-9
        up, down = theta.copy(), theta.copy()
        up[index] += step
        down[index] -= step
        numerical = (law.predict(x, up) - law.predict(x, down)) / (2 * step)
        scale = np.abs(numerical).max()
        np.testing.assert_allclose(jacobian[:, index], numerical, atol=2e-7 * scale, rtol=2e-6)
        if bend is not None:
            second = v @ (law.jacobian(x, up) - law.jacobian(x, down)) / (2 * step)
            np.testing.assert_allclose(bend[index], second, atol=1e-6 * np.abs(second).max(), rtol=1e-5)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_a_batch_is_evaluated_as_its_members_are(law: Law) -> None:
    x, theta, y = example(law, rows=7)
    batch = np.stack([theta, theta * 1.01])
    np.testing.assert_allclose(law.predict(x, batch)[0], y, rtol=1e-12)
    np.testing.assert_allclose(law.predict(x, batch)[1], law.predict(x, theta * 1.01), rtol=1e-12)
    np.testing.assert_allclose(law.jacobian(x, batch)[1], law.jacobian(x, theta * 1.01), rtol=1e-12)


def losses(law: Law) -> list[Loss]:
    found: list[Loss] = [LeastSquares(), Huber(0.02), SoftL1(0.02)]
    if law.output_fraction:
        found += [Binomial(np.full(ROWS, 4000.0)), BetaBinomial(np.full(ROWS, 4000.0), rho=1e-4)]
    return found


CASES = [(law, loss) for law in LAWS for loss in losses(law)]


@pytest.mark.parametrize(("law", "loss"), CASES, ids=lambda value: value.name)
def test_known_parameters_return_from_noisy_data(law: Law, loss: Loss) -> None:
    x, theta, y = example(law)
    rng = np.random.default_rng(7)
    if loss.is_likelihood:
        measured = rng.binomial(4000, y) / 4000
    elif law.space is Space.LOG:
        measured = y * np.exp(0.002 * rng.standard_normal(ROWS))
    else:
        measured = y + 0.002 * float(np.ptp(y)) * rng.standard_normal(ROWS)
    result = fit(law, x, np.clip(measured, 0.0, 1.0) if law.output_fraction else measured, loss=loss, starts=24)
    assert result.status in (FitStatus.OK, FitStatus.NOT_IDENTIFIED), result.message
    # The optimum is at least as good as the truth ...
    truth = result.problem.value(result.problem.coordinates(theta[None]))[0]
    assert result.objective <= truth * (1 + 1e-9)
    # ... and near it: every parameter within five standard errors, the curve within four times the noise.
    errors = np.sqrt(np.maximum(np.diagonal(result.covariance), np.diagonal(result.covariance_model)))
    assert np.all(np.abs(result.theta - theta) <= 5 * errors + 1e-9 * np.abs(theta)), dict(
        zip(law.names, result.theta, strict=True)
    )
    noise = 0.02 if loss.is_likelihood else 0.005 * float(np.ptp(y))
    np.testing.assert_allclose(result.predict(x), y, atol=2 * noise, rtol=0.01)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_noise_free_data_return_the_parameters_to_many_digits(law: Law) -> None:
    x, theta, y = example(law)
    for seed in (0, 5):
        result = fit(law, x, y, seed=seed)
        np.testing.assert_allclose(result.theta, theta, rtol=1e-6)
        assert result.status is FitStatus.OK
        assert result.identified
