"""Accuracy of compute between a floor and a ceiling: what is left to the ceiling decays as a stretched exponential."""

from __future__ import annotations

import numpy as np

from forecast.laws.law import FloatArray, Input, Law, Parameter, Role, constants, stack, unpack
from forecast.laws.quantities import ACCURACIES


class AccuracyCompute(Law):
    """acc = floor + (ceiling - floor) exp(-A C^-alpha)."""

    name = "accuracy-compute"
    title = "Direct law with a ceiling: accuracy of compute"
    formula = "acc = floor + (ceiling - floor) * exp(-A * C^(-alpha))"
    reference = "direct-accuracy with a ceiling below 1: benchmarks hold wrong labels and ambiguous items"
    inputs = (Input(name="flops", unit="training FLOPs C, of one convention", typical=(1e19, 1e24)),)
    output = "accuracy, a fraction"
    outputs = ACCURACIES
    parameters = (
        Parameter(name="floor", meaning="accuracy at little compute: chance", lower=0.0, upper=1.0, role=Role.FLOOR),
        Parameter(name="ceiling", meaning="accuracy at unlimited compute", lower=0.0, upper=1.0, role=Role.CEILING),
        Parameter(
            name="A", meaning="-log of the share of the way to the ceiling at C = 1", lower=0.0, log=True, role=Role.AMPLITUDE
        ),
        Parameter(name="alpha", meaning="exponent", lower=1e-4, upper=10.0, log=True, role=Role.EXPONENT),
    )
    output_positive = False
    output_fraction = True
    linear = ("floor", "ceiling")
    typical = constants(floor=0.25, ceiling=0.93, A=8e3, alpha=0.19)

    def starts(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Exponents on a grid, each with the half-way point over and beyond the measured range; the asymptotes are linear."""
        log_c = np.log(x[..., 0])
        middles = np.linspace(np.min(log_c) - 2.0, np.max(log_c) + 8.0, 24)
        return np.array(
            [
                (0.25, 0.93, np.exp(np.clip(alpha * middle, -600.0, 600.0)), alpha)
                for alpha in np.geomspace(0.02, 2.0, 24)
                for middle in middles
            ]
        )

    def predict(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.predict`."""
        floor, ceiling, a, alpha = unpack(theta)
        rate = np.exp(np.log(a) - alpha * np.log(x[..., 0]))
        return np.asarray(floor + (ceiling - floor) * np.exp(-rate))

    def jacobian(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.jacobian`."""
        floor, ceiling, a, alpha = unpack(theta)
        log_c = np.log(x[..., 0])
        rate = np.exp(np.log(a) - alpha * log_c)
        share = np.exp(-rate)
        slope = (ceiling - floor) * share * rate
        return stack(-np.expm1(-rate), share, -slope / a, slope * log_c)


LAW = AccuracyCompute()
