"""Step 2: accuracy as a sigmoid of a smooth metric, with a floor near chance that may lie below it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from forecast.core.observations import FloatArray
from forecast.forecasting.accuracy_law import ACCURACY_NOISE, FLOOR_SD
from forecast.forecasting.batch_solver import solve_batch
from forecast.forecasting.sample import Sample
from forecast.forecasting.smooth_law import ROUNDS, residual_noise

CEILING = (1.0, 0.05)
"""Mean and sd of the ceiling: accuracies far below it cannot tell, so the prior does."""


@dataclass(frozen=True, kw_only=True)
class Sigmoid:
    """accuracy = floor + (ceiling - floor) / (1 + exp(slope (x - middle) / spread)), x the smooth metric.

    Columns: floor, ceiling, middle (in spreads from the mean of x), log slope.
    """

    parameters: FloatArray
    center: float
    spread: float
    prior_mean: FloatArray
    prior_sd: FloatArray

    def value(self, x: FloatArray) -> FloatArray:
        """(B, K) of (B, K)."""
        floor, ceiling, middle, log_slope = (self.parameters[:, [i]] for i in range(4))
        z = np.exp(np.clip(log_slope, -6, 6)) * ((x - self.center) / self.spread - middle)
        result: FloatArray = floor + (ceiling - floor) / (1.0 + np.exp(np.clip(z, -40, 40)))
        return result

    def with_parameters(self, parameters: FloatArray) -> Sigmoid:
        """Return the same sigmoid with other parameters."""
        return replace(self, parameters=parameters)


def fit_sigmoid(sample: Sample, x: FloatArray) -> Sigmoid:
    """Fit every replicate by least squares, each row weighted by its sampling error and the residual scatter."""
    mean = np.array([sample.floor, CEILING[0], -2.0, 0.0])
    sd = np.array([FLOOR_SD, CEILING[1], 4.0, 1.0])
    theta = np.tile(mean, (x.shape[0], 1))
    curve = Sigmoid(
        parameters=theta,
        center=float(np.mean(x[0])),
        spread=float(max(np.std(x[0]), 1e-6)),
        prior_mean=mean,
        prior_sd=sd,
    )
    weight = np.sqrt(sample.weight)
    noise = np.full(x.shape[0], ACCURACY_NOISE)
    for _ in range(ROUNDS):
        scale = weight / np.hypot(noise[:, None], sample.sampling_sd[None, :])

        def residuals(parameters: FloatArray, scale: FloatArray = scale) -> FloatArray:
            difference: FloatArray = (curve.with_parameters(parameters).value(x) - sample.accuracy) * scale
            return difference

        theta = solve_batch(residuals, theta, prior_mean=mean, prior_sd=sd).parameters
        noise = residual_noise(curve.with_parameters(theta).value(x) - sample.accuracy, sample.weight, ACCURACY_NOISE)
    return curve.with_parameters(theta)
