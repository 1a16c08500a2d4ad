"""Accuracy straight from compute: a power law of the chance-corrected log accuracy."""

from __future__ import annotations

import numpy as np

from forecast.laws.law import FloatArray, Input, Law, Parameter, Role, constants, stack, unpack
from forecast.laws.quantities import ACCURACIES


class DirectAccuracy(Law):
    """-log Q' = A C^-alpha with Q' = (acc - chance) / (1 - chance)."""

    name = "direct-accuracy"
    title = "Direct law: accuracy of compute"
    formula = "-log((acc - chance) / (1 - chance)) = A * C^(-alpha)"
    reference = "form as in a 2025 study of direct downstream laws (METHODS: quoted, second hand)"
    inputs = (Input(name="flops", unit="training FLOPs C, of one convention", typical=(1e19, 1e24)),)
    output = "accuracy, a fraction"
    outputs = ACCURACIES
    parameters = (
        Parameter(name="A", meaning="-log Q' at C = 1", lower=0.0, log=True, role=Role.AMPLITUDE),
        Parameter(name="alpha", meaning="exponent", lower=1e-4, upper=10.0, log=True, role=Role.EXPONENT),
        Parameter(
            name="chance", meaning="accuracy of guessing; fix it where it is known", lower=0.0, upper=0.999, role=Role.FLOOR
        ),
    )
    output_positive = False
    output_fraction = True
    typical = constants(A=8e3, alpha=0.19, chance=0.25)

    def starts(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Exponents and chances from grids; A from the median of what each row would ask."""
        log_c = np.log(x[..., 0])
        rows = []
        for chance in sorted({0.0, 0.25, 0.5, max(0.0, float(np.min(y)) - 0.02)}):
            q = np.clip((y - chance) / (1 - chance), 1e-3, 1 - 1e-6)
            log_rate = np.log(-np.log(q))
            rows += [
                (np.exp(min(float(np.median(log_rate + alpha * log_c)), 600.0)), alpha, chance)
                for alpha in np.geomspace(0.01, 2.0, 30)
            ]
        return np.array(rows)

    def _rate(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        a, alpha, _ = unpack(theta)
        return np.asarray(np.exp(np.log(a) - alpha * np.log(x[..., 0])))

    def predict(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.predict`."""
        chance = unpack(theta)[2]
        return np.asarray(chance + (1.0 - chance) * np.exp(-self._rate(x, theta)))

    def jacobian(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.jacobian`."""
        a, _, chance = unpack(theta)
        rate = self._rate(x, theta)
        q = np.exp(-rate)
        slope = (1.0 - chance) * q * rate
        return stack(-slope / a, slope * np.log(x[..., 0]), -np.expm1(-rate))


LAW = DirectAccuracy()
