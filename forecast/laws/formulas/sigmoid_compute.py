"""Accuracy as a rising sigmoid of log compute; floor and ceiling may be free, fixed or soft."""

from __future__ import annotations

import numpy as np
from scipy import special

from forecast.laws.formulas.sigmoid import sigmoid_grid
from forecast.laws.law import FloatArray, Input, Law, Parameter, Role, constants, stack, unpack
from forecast.laws.quantities import ACCURACIES


class SigmoidCompute(Law):
    """acc = floor + (ceiling - floor) / (1 + exp(-k (log10 C - c0)))."""

    name = "sigmoid-compute"
    title = "Accuracy as a rising sigmoid of log compute"
    formula = "acc = floor + (ceiling - floor) / (1 + exp(-k * (log10(C) - c0)))"
    reference = "Ruan 2024 (arXiv:2405.10938), eq. 3, with compute as the only capability"
    inputs = (Input(name="flops", unit="training FLOPs C, of one convention", typical=(1e19, 1e25)),)
    output = "accuracy, a fraction"
    outputs = ACCURACIES
    parameters = (
        Parameter(name="floor", meaning="accuracy at little compute: chance", lower=0.0, upper=1.0, role=Role.FLOOR),
        Parameter(name="ceiling", meaning="accuracy at much compute", lower=0.0, upper=1.0, role=Role.CEILING),
        Parameter(name="k", meaning="steepness, per factor of ten", lower=1e-6, upper=1e6, log=True),
        Parameter(name="c0", meaning="log10 of the compute half-way between floor and ceiling"),
    )
    output_positive = False
    output_fraction = True
    linear = ("floor", "ceiling")
    typical = constants(floor=0.25, ceiling=0.95, k=1.8, c0=22.0)

    def starts(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """The sigmoid's grid over log10 C."""
        return np.array([(0.25, 0.95, steep, middle) for steep, middle in sigmoid_grid(-np.log10(x[..., 0])) * [1.0, -1.0]])

    def predict(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.predict`."""
        floor, ceiling, k, c0 = unpack(theta)
        return np.asarray(floor + (ceiling - floor) * special.expit(k * (np.log10(x[..., 0]) - c0)))

    def jacobian(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.jacobian`."""
        floor, ceiling, k, c0 = unpack(theta)
        gap = np.log10(x[..., 0]) - c0
        s = special.expit(k * gap)
        slope = (ceiling - floor) * s * special.expit(-k * gap)
        return stack(1.0 - s, s, slope * gap, -slope * k)


LAW = SigmoidCompute()
