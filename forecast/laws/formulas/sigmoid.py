"""Accuracy as a sigmoid of a loss-like quantity; floor and ceiling may be free, fixed or soft."""

from __future__ import annotations

import numpy as np
from scipy import special

from forecast.laws.law import FloatArray, Input, Law, Parameter, Role, constants, stack, unpack
from forecast.laws.quantities import ACCURACIES, SMOOTH


class Sigmoid(Law):
    """acc = floor + (ceiling - floor) / (1 + exp(k (L - L0)))."""

    name = "sigmoid"
    title = "Accuracy as a falling sigmoid of loss"
    formula = "acc = floor + (ceiling - floor) / (1 + exp(k * (L - L0)))"
    reference = "Llama 3 (arXiv:2407.21783), section 3.2.1; OLMo ladder (arXiv:2412.04403), eq. 3"
    inputs = (
        Input(
            name="nll",
            unit="loss-like: nats or bits per character, byte or token",
            typical=(0.4, 1.8),
            positive=False,
            accepts=(*SMOOTH, "loss"),
        ),
    )
    output = "accuracy, a fraction"
    outputs = ACCURACIES
    parameters = (
        Parameter(
            name="floor",
            meaning="accuracy at large loss: chance",
            lower=0.0,
            upper=1.0,
            role=Role.FLOOR,
            grid=(0.0, 0.25, 0.5),
        ),
        Parameter(name="ceiling", meaning="accuracy at small loss", lower=0.0, upper=1.0, role=Role.CEILING),
        Parameter(name="k", meaning="steepness, per unit of loss", lower=1e-6, upper=1e6, log=True, role=Role.STEEPNESS),
        Parameter(name="L0", meaning="loss half-way between floor and ceiling", role=Role.MIDDLE),
    )
    output_positive = False
    output_fraction = True
    linear = ("floor", "ceiling")
    typical = constants(floor=0.25, ceiling=0.95, k=6.0, L0=1.0)

    def starts(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Half-way losses over and beyond the measured range, steepnesses relative to its width; the asymptotes are linear."""
        return np.array([(0.25, 0.95, steep, middle) for steep, middle in sigmoid_grid(x[..., 0])])

    def predict(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.predict`."""
        floor, ceiling, k, l0 = unpack(theta)
        return np.asarray(floor + (ceiling - floor) * special.expit(-k * (x[..., 0] - l0)))

    def jacobian(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.jacobian`."""
        floor, ceiling, k, l0 = unpack(theta)
        gap = x[..., 0] - l0
        s = special.expit(-k * gap)
        slope = (ceiling - floor) * s * special.expit(k * gap)
        return stack(1.0 - s, s, -slope * gap, slope * k)

    def slope(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.slope`."""
        floor, ceiling, k, l0 = unpack(theta)
        gap = x[..., 0] - l0
        return np.asarray(-(ceiling - floor) * k * special.expit(-k * gap) * special.expit(k * gap))


def sigmoid_grid(x: FloatArray) -> FloatArray:
    """Pairs (steepness, middle) to begin a falling sigmoid from, for measurements at x (rows,)."""
    low, high = float(np.min(x)), float(np.max(x))
    width = max(high - low, 1e-6 * max(abs(low), 1.0))
    places = np.linspace(-2.0, 1.5, 29)
    return np.array(
        [(steep / width, low + place * width) for steep in (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 64.0) for place in places]
    )


LAW = Sigmoid()
