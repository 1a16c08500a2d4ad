"""Gadre 2024: average downstream error of loss."""

from __future__ import annotations

import numpy as np

from forecast.laws.law import FloatArray, Input, Law, Parameter, Role, constants, stack, unpack
from forecast.laws.quantities import ERRORS

_GAMMA = tuple(float(value) for value in np.geomspace(0.02, 20.0, 60))


class GadreError(Law):
    """Err = eps - k exp(-gamma L)."""

    name = "gadre-error"
    title = "Gadre: downstream error of loss"
    formula = "Err = eps - k * exp(-gamma * L)"
    reference = "Gadre 2024 (arXiv:2403.08540), eq. 5"
    inputs = (Input(name="loss", unit="loss, nats per token", typical=(2.0, 5.0), positive=False),)
    output = "error, a fraction"
    outputs = ERRORS
    parameters = (
        Parameter(name="eps", meaning="error at infinite loss", lower=0.0, upper=2.0, role=Role.CEILING),
        Parameter(name="k", meaning="amplitude", lower=0.0, log=True, role=Role.AMPLITUDE),
        Parameter(name="gamma", meaning="rate per nat", lower=1e-4, upper=1e3, log=True, grid=_GAMMA),
    )
    output_positive = False
    output_fraction = True
    linear = ("eps", "k")
    typical = constants(eps=0.85, k=3.5, gamma=0.9)

    def predict(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.predict`."""
        eps, k, gamma = unpack(theta)
        return np.asarray(eps - np.exp(np.log(k) - gamma * x[..., 0]))

    def jacobian(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.jacobian`."""
        _, k, gamma = unpack(theta)
        part = np.exp(np.log(k) - gamma * x[..., 0])
        return stack(np.ones_like(part), -part / k, part * x[..., 0])


LAW = GadreError()
