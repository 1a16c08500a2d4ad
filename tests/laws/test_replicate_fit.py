"""Laws fitted to many replicates with priors, against one slow fit at a time by SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize

from forecast.core.errors import FitError
from forecast.laws import Law, Space, get_law
from forecast.laws.priors import Affine, Log, Logit, Prior, Transform
from forecast.laws.replicate_fit import Coordinates, fit_replicates, residual_scatter

PRIORS = {
    "power-law-offset": {
        "A": Prior(mean=-1.0, sd=3.0, transform=Log(0.4)),
        "alpha": Prior(mean=np.log(0.15), sd=0.4, transform=Log()),
        "E": Prior(mean=0.0, sd=1.0, transform=Logit(0.6)),
    },
    "accuracy-scale": {
        "floor": Prior(mean=0.25, sd=0.03),
        "ceiling": Prior(mean=2.6, sd=1.0, transform=Logit()),
        "A": Prior(mean=0.3, sd=2.0, transform=Log()),
        "alpha": Prior(mean=np.log(0.3), sd=0.3, transform=Log()),
        "B": Prior(mean=0.3, sd=2.0, transform=Log()),
        "beta": Prior(mean=np.log(0.3), sd=0.3, transform=Log()),
    },
    "sigmoid": {
        "floor": Prior(mean=0.25, sd=0.03),
        "ceiling": Prior(mean=1.0, sd=0.05),
        "k": Prior(mean=0.0, sd=1.0, transform=Log(5.0)),
        "L0": Prior(mean=-2.0, sd=4.0, transform=Affine(1.0, 0.2)),
    },
}


def _measured(law: Law, priors: dict[str, Prior], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    x = np.exp(-rng.uniform(0, 5, (14, len(law.inputs)))) if law.name != "sigmoid" else rng.uniform(0.5, 1.4, (14, 1))
    near = {name: prior.mean + 0.3 * min(prior.sd, 1.0) * rng.standard_normal() for name, prior in priors.items()}
    theta = np.array([float(priors[name].transform.value(np.array([near[name]]))[0]) for name in law.names])
    return x, law.predict(x, theta)


@pytest.mark.parametrize("name", PRIORS)
def test_each_replicate_is_the_optimum_that_scipy_finds(name: str) -> None:
    rng = np.random.default_rng(3)
    law, priors = get_law(name), PRIORS[name]
    x, clean = _measured(law, priors, rng)
    space = Space.LOG if name == "power-law-offset" else Space.LINEAR
    y = clean * (1 + 0.01 * rng.standard_normal((4, len(x))))
    weight = rng.exponential(size=y.shape)
    sigma = np.full(len(x), 0.01)
    fitted = fit_replicates(law, x, y, priors=priors, weight=weight, scatter=0.01, sampling_sd=sigma, space=space)
    assert fitted.converged.all()
    log = np.log if space is Space.LOG else np.asarray
    mean, sd = fitted.coordinates.mean, fitted.coordinates.sd
    for b in range(len(y)):
        u, noise = mean.copy(), 0.01
        for _ in range(3):

            def one(u: np.ndarray, b: int = b, noise: float = noise) -> np.ndarray:
                gap = log(fitted.coordinates.value(x, u[None])[0]) - log(y[b])
                return np.concatenate([gap * np.sqrt(weight[b]) / np.hypot(noise, sigma), (u - mean) / sd])

            u = optimize.least_squares(one, u, xtol=1e-15, ftol=1e-15, gtol=1e-15, max_nfev=5000).x
            residual = log(fitted.coordinates.value(x, u[None])[0]) - log(y[b])
            noise = float(residual_scatter(residual[None], weight[[b]], 0.01)[0])
        np.testing.assert_allclose(fitted.predict(x)[b], law.predict(x, fitted.theta[b]), rtol=1e-12)
        np.testing.assert_allclose(fitted.predict(x)[b], fitted.coordinates.value(x, u[None])[0], rtol=2e-6)


@pytest.mark.parametrize("name", PRIORS)
def test_derivatives_in_coordinates_are_those_of_differences(name: str) -> None:
    law, priors = get_law(name), PRIORS[name]
    coordinates = Coordinates(law=law, priors=tuple(priors[parameter] for parameter in law.names))
    x, _ = _measured(law, priors, np.random.default_rng(0))
    u = coordinates.mean[None] + 0.1
    for p in range(len(law.names)):
        step = 1e-6 * np.eye(len(law.names))[[p]]
        rise = (coordinates.value(x, u + step) - coordinates.value(x, u - step)) / 2e-6
        np.testing.assert_allclose(coordinates.jacobian(x, u)[..., p], rise, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("transform", [Affine(2.0, 3.0), Log(np.array([1.0, 2.0])), Logit(np.array([0.5, 4.0]))])
def test_slopes_of_transforms(transform: Transform) -> None:
    u = np.array([-1.3, 0.7])
    rise = (transform.value(u + 1e-6) - transform.value(u - 1e-6)) / 2e-6
    np.testing.assert_allclose(transform.slope(u), rise, rtol=1e-8)


def test_the_slope_of_the_sigmoid_is_that_of_differences() -> None:
    law = get_law("sigmoid")
    x = np.linspace(0.3, 1.9, 9)[:, None]
    theta = law.vector(law.typical)[None]
    np.testing.assert_allclose(law.slope(x, theta), super(type(law), law).slope(x, theta), rtol=1e-7)


def test_replicates_may_differ_in_x() -> None:
    law, priors = get_law("sigmoid"), PRIORS["sigmoid"]
    rng = np.random.default_rng(1)
    x = rng.uniform(0.5, 1.4, (3, 14, 1))
    y = law.predict(x, law.vector(law.typical)[None])
    weight = np.ones(y.shape)
    together = fit_replicates(law, x, y, priors=priors, weight=weight, scatter=0.01)
    for b in range(3):
        alone = fit_replicates(law, x[b], y[[b]], priors=priors, weight=weight[[b]], scatter=0.01)
        np.testing.assert_allclose(together.u[b], alone.u[0], rtol=1e-4, atol=1e-4)


def test_a_parameter_without_a_prior_is_named() -> None:
    law = get_law("sigmoid")
    priors = {name: prior for name, prior in PRIORS["sigmoid"].items() if name != "L0"}
    with pytest.raises(FitError, match=r"'sigmoid'.*L0"):
        fit_replicates(law, np.ones((3, 1)), np.ones((1, 3)), priors=priors, weight=np.ones((1, 3)), scatter=0.01)


def test_replicates_that_did_not_converge_have_no_number() -> None:
    law, priors = get_law("power-law-offset"), PRIORS["power-law-offset"]
    x = np.exp(-np.linspace(0, 5, 8))[:, None]
    y = np.stack([0.5 * x[:, 0] ** -0.2 + 0.3, np.full(8, np.nan)])
    fitted = fit_replicates(law, x, y, priors=priors, weight=np.ones(y.shape), scatter=0.01)
    assert fitted.converged.tolist() == [True, False]
    assert np.isfinite(fitted.predict(x)[0]).all()
    assert np.isnan(fitted.predict(x)[1]).all()
