"""Hoffmann 2022, approach 3: loss of parameters and tokens."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from forecast.laws.law import FloatArray, Input, Law, Parameter, PublishedFit, Role, Space, constants, stack, unpack
from forecast.laws.quantities import LOSSES

_EXPONENTS = tuple(float(value) for value in np.geomspace(0.03, 1.5, 24))


class Chinchilla(Law):
    """L = E + A / N^alpha + B / D^beta."""

    name = "chinchilla"
    title = "Hoffmann approach 3: loss of parameters and tokens"
    formula = "L = E + A / N^alpha + B / D^beta"
    reference = "Hoffmann 2022 (arXiv:2203.15556), eq. 2 and D.3; Besiroglu 2024 (arXiv:2404.10102)"
    inputs = (
        Input(name="params", unit="parameters N", typical=(5e7, 1e10)),
        Input(name="tokens", unit="training tokens D", typical=(1e9, 5e11)),
    )
    output = "loss, nats per token"
    outputs = LOSSES
    robust = True
    parameters = (
        Parameter(name="A", meaning="amplitude of the parameters' part", lower=0.0, log=True, role=Role.AMPLITUDE),
        Parameter(name="B", meaning="amplitude of the tokens' part", lower=0.0, log=True, role=Role.AMPLITUDE),
        Parameter(name="E", meaning="irreducible loss", lower=0.0, role=Role.IRREDUCIBLE),
        Parameter(name="alpha", meaning="exponent of N", lower=1e-3, upper=5.0, log=True, role=Role.EXPONENT, grid=_EXPONENTS),
        Parameter(name="beta", meaning="exponent of D", lower=1e-3, upper=5.0, log=True, role=Role.EXPONENT, grid=_EXPONENTS),
    )
    space = Space.LOG
    linear = ("A", "B", "E")
    typical = constants(A=480.0, B=2100.0, E=1.8, alpha=0.35, beta=0.37)
    published: ClassVar[tuple[PublishedFit, ...]] = (
        PublishedFit(
            source="Hoffmann 2022, eq. 10",
            params={"A": 406.4, "B": 410.7, "E": 1.69, "alpha": 0.34, "beta": 0.28},
            note="inconsistent with the paper's own figure 4, see Besiroglu 2024",
            superseded=True,
        ),
        PublishedFit(
            source="Besiroglu 2024, table 1",
            params={"A": 482.01, "B": 2085.43, "E": 1.8172, "alpha": 0.3478, "beta": 0.3658},
        ),
    )

    def predict(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.predict`."""
        a, b, e, alpha, beta = unpack(theta)
        log_n, log_d = np.log(x[..., 0]), np.log(x[..., 1])
        return np.asarray(e + np.exp(np.log(a) - alpha * log_n) + np.exp(np.log(b) - beta * log_d))

    def jacobian(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.jacobian`."""
        a, b, _, alpha, beta = unpack(theta)
        log_n, log_d = np.log(x[..., 0]), np.log(x[..., 1])
        of_n = np.exp(np.log(a) - alpha * log_n)
        of_d = np.exp(np.log(b) - beta * log_d)
        return stack(of_n / a, of_d / b, np.ones_like(of_n), -of_n * log_n, -of_d * log_d)

    def curvature(self, x: FloatArray, theta: FloatArray, v: FloatArray) -> FloatArray:
        """See `Law.curvature`."""
        a, b, _, alpha, beta = unpack(theta)
        log_n, log_d = np.log(x[..., 0]), np.log(x[..., 1])
        of_n = v * np.exp(np.log(a) - alpha * log_n)
        of_d = v * np.exp(np.log(b) - beta * log_d)
        out = np.zeros((*theta.shape, theta.shape[-1]))
        out[..., 0, 3] = out[..., 3, 0] = -(of_n @ log_n) / theta[..., 0]
        out[..., 3, 3] = of_n @ (log_n * log_n)
        out[..., 1, 4] = out[..., 4, 1] = -(of_d @ log_d) / theta[..., 1]
        out[..., 4, 4] = of_d @ (log_d * log_d)
        return out


LAW = Chinchilla()
