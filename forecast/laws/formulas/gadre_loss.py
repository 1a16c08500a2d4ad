"""Gadre 2024: loss of compute and over-training."""

from __future__ import annotations

import numpy as np

from forecast.laws.law import FloatArray, Input, Law, Parameter, Role, constants, stack, unpack
from forecast.laws.quantities import LOSSES
from forecast.laws.shapes import EXPONENTS


class GadreLoss(Law):
    """L = E + (a M^eta + b M^-eta) C^-eta, M = D / N."""

    name = "gadre-loss"
    title = "Gadre: loss of compute and tokens per parameter"
    formula = "L = E + (a * M^eta + b * M^(-eta)) * C^(-eta)"
    reference = "Gadre 2024 (arXiv:2403.08540), eq. 4"
    inputs = (
        Input(name="flops", unit="training FLOPs C = 6 N D, N total", typical=(3e15, 1e20)),
        Input(name="token_multiplier", unit="tokens per parameter M = D / N", typical=(5.0, 640.0)),
    )
    output = "loss, nats per token"
    outputs = LOSSES
    parameters = (
        Parameter(name="E", meaning="irreducible loss", lower=0.0, role=Role.IRREDUCIBLE),
        Parameter(name="a", meaning="amplitude of the parameters' part", lower=0.0, log=True, role=Role.AMPLITUDE),
        Parameter(name="b", meaning="amplitude of the tokens' part", lower=0.0, log=True, role=Role.AMPLITUDE),
        Parameter(name="eta", meaning="exponent", lower=1e-4, upper=10.0, log=True, role=Role.EXPONENT, grid=EXPONENTS),
    )
    linear = ("E", "a", "b")
    typical = constants(E=1.9, a=150.0, b=3000.0, eta=0.15)

    def _parts(self, x: FloatArray, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        _, a, b, eta = unpack(theta)
        log_c, log_m = np.log(x[..., 0]), np.log(x[..., 1])
        return np.exp(np.log(a) - eta * (log_c - log_m)), np.exp(np.log(b) - eta * (log_c + log_m))

    def predict(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.predict`."""
        of_n, of_d = self._parts(x, theta)
        return np.asarray(unpack(theta)[0] + of_n + of_d)

    def jacobian(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.jacobian`."""
        _, a, b, _ = unpack(theta)
        of_n, of_d = self._parts(x, theta)
        log_c, log_m = np.log(x[..., 0]), np.log(x[..., 1])
        return stack(np.ones_like(of_n), of_n / a, of_d / b, -of_n * (log_c - log_m) - of_d * (log_c + log_m))


LAW = GadreLoss()
