"""Caballero 2023: a smoothly broken power law, with one break."""

from __future__ import annotations

import numpy as np

from forecast.laws.law import FloatArray, Input, Law, Parameter, Role, Space, constants, stack, unpack
from forecast.laws.quantities import ALL

_SLOPES = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)
_CHANGES = (-0.4, -0.15, 0.05, 0.15, 0.4, 0.8)


class Broken(Law):
    """y = a + b x^-c0 (1 + (x / d)^(1 / f))^(-c1 f)."""

    name = "broken"
    title = "Smoothly broken power law, one break"
    formula = "y = a + b * x^(-c0) * (1 + (x / d)^(1 / f))^(-c1 * f)"
    reference = "Caballero 2023 (arXiv:2210.14891), eq. 1 with n = 1"
    inputs = (Input(name="x", unit="any scale: FLOPs, parameters, tokens", typical=(1e3, 1e11), accepts=("flops",)),)
    output = "loss or error"
    outputs = ALL
    parameters = (
        Parameter(name="a", meaning="irreducible part", lower=0.0, role=Role.IRREDUCIBLE),
        Parameter(name="b", meaning="amplitude", lower=0.0, log=True, role=Role.AMPLITUDE),
        Parameter(name="c0", meaning="exponent before the break", lower=-5.0, upper=5.0, role=Role.EXPONENT),
        Parameter(name="c1", meaning="change of exponent at the break", lower=-5.0, upper=5.0, role=Role.EXPONENT),
        Parameter(name="d", meaning="place of the break", lower=0.0, log=True),
        Parameter(name="f", meaning="width of the break, e-folds of x", lower=1e-2, upper=1e2, log=True),
    )
    space = Space.LOG
    linear = ("a", "b")
    typical = constants(a=0.1, b=5.0, c0=0.05, c1=0.4, d=1e7, f=0.7)

    def starts(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Breaks over the measured range, slopes from a grid."""
        low, high = float(np.min(x)), float(np.max(x))
        breaks = np.geomspace(low * (high / low) ** 0.05, low * (high / low) ** 0.95, 9) if high > low else np.array([low])
        return np.array(
            [(0.0, 1.0, c0, c1, d, f) for c0 in _SLOPES for c1 in _CHANGES for d in breaks for f in (0.1, 0.5, 2.0)]
        )

    def _parts(self, x: FloatArray, theta: FloatArray) -> tuple[FloatArray, ...]:
        _, b, c0, c1, d, f = unpack(theta)
        log_x = np.log(x[..., 0])
        ratio = (log_x - np.log(d)) / f
        bend = np.logaddexp(0.0, ratio)
        return np.exp(np.log(b) - c0 * log_x - c1 * f * bend), log_x, ratio, bend

    def predict(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.predict`."""
        return np.asarray(unpack(theta)[0] + self._parts(x, theta)[0])

    def jacobian(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.jacobian`."""
        _, b, _, c1, d, f = unpack(theta)
        part, log_x, ratio, bend = self._parts(x, theta)
        after = np.exp(ratio - bend)
        return stack(
            np.ones_like(part),
            part / b,
            -part * log_x,
            -part * f * bend,
            part * c1 * after / d,
            -part * c1 * (bend - after * ratio),
        )


LAW = Broken()
