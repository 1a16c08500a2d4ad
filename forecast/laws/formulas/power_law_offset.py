"""Power law of one scale with an irreducible term: GPT-4's loss law, and M2 of Alabdulmohsin 2022 in its x^c."""

from __future__ import annotations

import numpy as np

from forecast.laws.law import FloatArray, Input, Law, Parameter, Role, stack, unpack

EXPONENTS = tuple(float(value) for value in np.geomspace(0.005, 3.0, 48))
"""Search grid: a factor of 1.15 apart."""


class PowerLawOffset(Law):
    """y = A x^-alpha + E."""

    name = "power-law-offset"
    title = "Power law with irreducible term"
    formula = "y = A * x^(-alpha) + E"
    reference = "GPT-4 Technical Report (arXiv:2303.08774), section 3.1: L(C) = a C^b + c; Henighan 2020 (arXiv:2010.14701)"
    inputs = (Input(name="x", unit="any scale: FLOPs, parameters, tokens"),)
    output = "loss or error"
    parameters = (
        Parameter(name="A", meaning="reducible part at x = 1", lower=0.0, log=True, role=Role.AMPLITUDE),
        Parameter(name="alpha", meaning="exponent", lower=1e-4, upper=10.0, log=True, role=Role.EXPONENT, grid=EXPONENTS),
        Parameter(name="E", meaning="irreducible part", lower=0.0, role=Role.IRREDUCIBLE),
    )
    linear = ("A", "E")

    def predict(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.predict`."""
        a, alpha, e = unpack(theta)
        return np.asarray(np.exp(np.log(a) - alpha * np.log(x[:, 0])) + e)

    def jacobian(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.jacobian`."""
        a, alpha, _ = unpack(theta)
        part = np.exp(np.log(a) - alpha * np.log(x[:, 0]))
        return stack(part / a, -part * np.log(x[:, 0]), np.ones_like(part))


LAW = PowerLawOffset()
