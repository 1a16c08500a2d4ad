"""Accuracy of parameters and tokens between a floor and a ceiling: Chinchilla's two terms in a stretched exponential."""

from __future__ import annotations

import numpy as np

from forecast.laws.law import FloatArray, Input, Law, Parameter, Role, constants, stack, unpack
from forecast.laws.quantities import ACCURACIES


class AccuracyScale(Law):
    """acc = floor + (ceiling - floor) exp(-A N^-alpha - B D^-beta)."""

    name = "accuracy-scale"
    title = "Direct law with a ceiling: accuracy of parameters and tokens"
    formula = "acc = floor + (ceiling - floor) * exp(-A * N^(-alpha) - B * D^(-beta))"
    reference = "accuracy-compute with the two terms of Hoffmann 2022 (arXiv:2203.15556), eq. 2"
    inputs = (
        Input(name="params", unit="parameters N", typical=(5e7, 1e10)),
        Input(name="tokens", unit="training tokens D", typical=(1e9, 5e11)),
    )
    output = "accuracy, a fraction"
    outputs = ACCURACIES
    parameters = (
        Parameter(name="floor", meaning="accuracy at little scale: chance", lower=0.0, upper=1.0, role=Role.FLOOR),
        Parameter(name="ceiling", meaning="accuracy at unlimited scale", lower=0.0, upper=1.0, role=Role.CEILING),
        Parameter(name="A", meaning="amplitude of the parameters' part", lower=0.0, log=True, role=Role.AMPLITUDE),
        Parameter(name="alpha", meaning="exponent of N", lower=1e-3, upper=5.0, log=True, role=Role.EXPONENT),
        Parameter(name="B", meaning="amplitude of the tokens' part", lower=0.0, log=True, role=Role.AMPLITUDE),
        Parameter(name="beta", meaning="exponent of D", lower=1e-3, upper=5.0, log=True, role=Role.EXPONENT),
    )
    output_positive = False
    output_fraction = True
    linear = ("floor", "ceiling")
    typical = constants(floor=0.25, ceiling=0.93, A=300.0, alpha=0.3, B=500.0, beta=0.3)

    def starts(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Exponents on a grid, amplitudes from what each part leaves at the median scale; the asymptotes are linear."""
        log_n, log_d = np.median(np.log(x[..., 0])), np.median(np.log(x[..., 1]))
        return np.array(
            [
                (0.25, 0.93, left_n * np.exp(alpha * log_n), alpha, left_d * np.exp(beta * log_d), beta)
                for alpha in (0.1, 0.2, 0.35, 0.6)
                for beta in (0.1, 0.2, 0.35, 0.6)
                for left_n in (0.05, 0.2, 0.6, 1.5)
                for left_d in (0.05, 0.2, 0.6, 1.5)
            ]
        )

    def predict(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.predict`."""
        floor, ceiling, a, alpha, b, beta = unpack(theta)
        rate = np.exp(np.log(a) - alpha * np.log(x[..., 0])) + np.exp(np.log(b) - beta * np.log(x[..., 1]))
        return np.asarray(floor + (ceiling - floor) * np.exp(-rate))

    def jacobian(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.jacobian`."""
        floor, ceiling, a, alpha, b, beta = unpack(theta)
        log_n, log_d = np.log(x[..., 0]), np.log(x[..., 1])
        of_n = np.exp(np.log(a) - alpha * log_n)
        of_d = np.exp(np.log(b) - beta * log_d)
        share = np.exp(-of_n - of_d)
        slope = (ceiling - floor) * share
        return stack(
            -np.expm1(-of_n - of_d), share, -slope * of_n / a, slope * of_n * log_n, -slope * of_d / b, slope * of_d * log_d
        )


LAW = AccuracyScale()
