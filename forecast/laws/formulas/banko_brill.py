"""Banko & Brill 2001: accuracy grows linearly in the logarithm of the data."""

from __future__ import annotations

import numpy as np

from forecast.laws.law import FloatArray, Input, Law, Parameter, Role, constants, stack, unpack
from forecast.laws.quantities import ACCURACIES


class BankoBrill(Law):
    """acc = a + b log10 D."""

    name = "banko-brill"
    title = "Banko & Brill: accuracy linear in log data"
    formula = "acc = a + b * log10(D)"
    reference = "Banko & Brill 2001 (ACL), figure 1: confusion-set disambiguation, to 1e9 words"
    inputs = (Input(name="tokens", unit="training words or tokens D", typical=(1e6, 1e9)),)
    output = "accuracy, a fraction"
    outputs = ACCURACIES
    parameters = (
        Parameter(name="a", meaning="accuracy at D = 1", role=Role.SHAPE),
        Parameter(name="b", meaning="gain per factor of ten"),
    )
    output_positive = False
    output_fraction = True
    linear = ("a", "b")
    typical = constants(a=0.2, b=0.08)

    def predict(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.predict`."""
        a, b = unpack(theta)
        return np.asarray(a + b * np.log10(x[..., 0]))

    def jacobian(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.jacobian`."""
        a, _ = unpack(theta)
        return stack(np.ones_like(a + x[..., 0]), np.log10(x[..., 0]))


LAW = BankoBrill()
