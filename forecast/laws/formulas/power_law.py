"""Pure power law of one scale."""

from __future__ import annotations

import numpy as np

from forecast.laws.law import FloatArray, Input, Law, Parameter, Role, Space, stack, unpack


class PowerLaw(Law):
    """y = A x^-alpha."""

    name = "power-law"
    title = "Power law without irreducible term"
    formula = "y = A * x^(-alpha)"
    reference = "Hestness 2017 (arXiv:1712.00409), eq. 1; excess risk of an ERM: alpha = 1"
    inputs = (Input(name="x", unit="any scale: FLOPs, parameters, tokens"),)
    output = "loss or error"
    parameters = (
        Parameter(name="A", meaning="value at x = 1", lower=0.0, log=True, role=Role.AMPLITUDE),
        Parameter(
            name="alpha",
            meaning="exponent",
            lower=-5.0,
            upper=5.0,
            role=Role.EXPONENT,
            grid=(-1.0, -0.5, -0.2, -0.05, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0),
        ),
    )
    space = Space.LOG
    linear = ("A",)

    def predict(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.predict`."""
        a, alpha = unpack(theta)
        return np.asarray(np.exp(np.log(a) - alpha * np.log(x[:, 0])))

    def jacobian(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.jacobian`."""
        y = self.predict(x, theta)
        return stack(y / unpack(theta)[0], -y * np.log(x[:, 0]))


LAW = PowerLaw()
