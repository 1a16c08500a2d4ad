"""OLMo ladder, step 2: accuracy as a sigmoid of task loss, in the paper's parameters."""

from __future__ import annotations

import numpy as np
from scipy import special

from forecast.laws.formulas.sigmoid import sigmoid_grid
from forecast.laws.law import FloatArray, Input, Law, Parameter, Role, constants, stack, unpack
from forecast.laws.quantities import ACCURACIES, SMOOTH


class OlmoAccuracy(Law):
    """acc = b + a / (1 + exp(-k (L - L0))), a negative: b is the accuracy at loss 0 and a + b that at large loss."""

    name = "olmo-accuracy"
    title = "OLMo ladder step 2: accuracy of task loss"
    formula = "acc = a / (1 + exp(-k * (L - L0))) + b"
    reference = "Bhagia 2024 (arXiv:2412.04403), eq. 2"
    inputs = (
        Input(
            name="nll",
            unit="task loss, bits per byte",
            typical=(0.4, 1.8),
            positive=False,
            accepts=(*SMOOTH, "loss"),
        ),
    )
    output = "accuracy, a fraction"
    outputs = ACCURACIES
    parameters = (
        Parameter(name="a", meaning="accuracy lost from small to large loss, negative", lower=-1.0, upper=0.0),
        Parameter(name="L0", meaning="loss half-way"),
        Parameter(name="k", meaning="steepness, per unit of loss", lower=1e-6, upper=1e6, log=True),
        Parameter(name="b", meaning="accuracy at small loss", lower=0.0, upper=1.0, role=Role.CEILING),
    )
    output_positive = False
    output_fraction = True
    linear = ("a", "b")
    typical = constants(a=-0.7, L0=1.0, k=6.0, b=0.95)

    def starts(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """The sigmoid's grid."""
        return np.array([(-0.7, middle, steep, 0.95) for steep, middle in sigmoid_grid(x[..., 0])])

    def predict(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.predict`."""
        a, l0, k, b = unpack(theta)
        return np.asarray(b + a * special.expit(k * (x[..., 0] - l0)))

    def jacobian(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.jacobian`."""
        a, l0, k, _ = unpack(theta)
        gap = x[..., 0] - l0
        s = special.expit(k * gap)
        slope = a * s * special.expit(-k * gap)
        return stack(s, -slope * k, slope * gap, np.ones_like(s))


LAW = OlmoAccuracy()
