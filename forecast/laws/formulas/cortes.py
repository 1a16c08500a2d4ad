"""Cortes 1993: test and training error approach one limit from above and below."""

from __future__ import annotations

import numpy as np

from forecast.laws.law import FloatArray, Input, Law, Parameter, Role, constants, stack, unpack
from forecast.laws.quantities import ERRORS
from forecast.laws.shapes import EXPONENTS


class Cortes(Law):
    """test = a + b / l^alpha, train = a - c / l^alpha, with one a and one alpha.

    Fitted together: rows with `is_train` 0 are test errors, rows with 1 training errors. Their sum and difference, which
    Cortes fits, are linear combinations of the same rows.
    """

    name = "cortes"
    title = "Cortes: test and training error of the number of examples"
    formula = "test = a + b / l^alpha (is_train = 0); train = a - c / l^alpha (is_train = 1)"
    reference = "Cortes, Jackel, Solla, Vapnik & Denker 1993 (NIPS 6), eq. 3 and 4"
    inputs = (
        Input(name="examples", unit="training examples l", typical=(1e2, 1e6), accepts=("tokens",)),
        Input(name="is_train", unit="0 for a test error, 1 for a training error", typical=(0.0, 1.0), positive=False),
    )
    output = "error"
    outputs = ERRORS
    parameters = (
        Parameter(name="a", meaning="common limit", lower=0.0, role=Role.IRREDUCIBLE),
        Parameter(name="b", meaning="amplitude of the test error", lower=0.0, log=True, role=Role.AMPLITUDE),
        Parameter(name="c", meaning="amplitude of the training error", lower=0.0, log=True, role=Role.AMPLITUDE),
        Parameter(name="alpha", meaning="exponent", lower=1e-4, upper=10.0, log=True, role=Role.EXPONENT, grid=EXPONENTS),
    )
    output_positive = False
    linear = ("a", "b", "c")
    typical = constants(a=0.25, b=2.0, c=1.0, alpha=0.5)

    def predict(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.predict`."""
        a, b, c, alpha = unpack(theta)
        train = x[..., 1] > 0.5
        return np.asarray(a + np.where(train, -c, b) * np.exp(-alpha * np.log(x[..., 0])))

    def jacobian(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.jacobian`."""
        _, b, c, alpha = unpack(theta)
        train = x[..., 1] > 0.5
        power = np.exp(-alpha * np.log(x[..., 0]))
        slope = -np.where(train, -c, b) * power * np.log(x[..., 0])
        return stack(np.ones_like(power), np.where(train, 0.0, power), np.where(train, -power, 0.0), slope)


LAW = Cortes()
