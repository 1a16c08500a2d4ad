"""Direct laws: accuracy as a function of compute, or of N and D, with no NLL between."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecast.core.observations import FloatArray
from forecast.forecasting.batch_solver import solve_batch
from forecast.forecasting.method import AccuracyOnly, Fitted
from forecast.forecasting.methods.two_step import lacks_params_tokens
from forecast.forecasting.sample import Points, Sample
from forecast.forecasting.sigmoid import ACCURACY_NOISE, FLOOR_SD
from forecast.forecasting.smooth_law import residual_noise

LOG_EXPONENT_IN_COMPUTE = (np.log(0.16), 0.5)
LOG_EXPONENT_IN_SIZE = (np.log(0.3), 0.3)


@dataclass(frozen=True)
class _FittedDirect(AccuracyOnly):
    parameters: FloatArray = None  # type: ignore[assignment]  # set by the only caller
    log_scale: tuple[float, float] = (0.0, 0.0)
    by_params_tokens: bool = False

    def accuracy(self, points: Points) -> FloatArray:
        """(B, K): floor + (1 - floor) exp(-h), h the law."""
        theta = self.parameters
        floor = theta[:, [0]]
        if self.by_params_tokens:
            n = theta[:, [1]] - np.exp(np.clip(theta[:, [3]], -8, 3)) * (points.log_params - self.log_scale[0])
            d = theta[:, [2]] - np.exp(np.clip(theta[:, [4]], -8, 3)) * (points.log_tokens - self.log_scale[1])
            hazard = np.exp(np.clip(n, -40, 40)) + np.exp(np.clip(d, -40, 40))
        else:
            c = theta[:, [1]] - np.exp(np.clip(theta[:, [2]], -8, 3)) * (points.log_flops - self.log_scale[0])
            hazard = np.exp(np.clip(c, -40, 40))
        result: FloatArray = floor + (1.0 - floor) * np.exp(-hazard)
        return result


@dataclass(frozen=True, kw_only=True)
class Direct:
    """-log((y - floor) / (1 - floor)) = A C^-alpha, or A N^-alpha + B D^-beta (the direct law of METHODS)."""

    name: str
    summary: str
    by_params_tokens: bool

    def missing(self, sample: Sample) -> str | None:
        """N and D for the law in them."""
        return lacks_params_tokens(sample) if self.by_params_tokens else None

    def fit(self, sample: Sample) -> Fitted:
        """Fit every replicate by penalised least squares."""
        points = Points(log_flops=sample.log_flops, log_params=sample.log_params, log_tokens=sample.log_tokens)
        if self.by_params_tokens:
            log_scale = (float(sample.log_params.max()), float(sample.log_tokens.max()))
            mean = np.array([sample.floor, -0.5, -0.5, LOG_EXPONENT_IN_SIZE[0], LOG_EXPONENT_IN_SIZE[0]])
            sd = np.array([FLOOR_SD, 2.0, 2.0, LOG_EXPONENT_IN_SIZE[1], LOG_EXPONENT_IN_SIZE[1]])
        else:
            log_scale = (float(sample.log_flops.max()), 0.0)
            mean = np.array([sample.floor, 0.0, LOG_EXPONENT_IN_COMPUTE[0]])
            sd = np.array([FLOOR_SD, 2.0, LOG_EXPONENT_IN_COMPUTE[1]])
        weight = np.sqrt(sample.weight)

        def fitted(theta: FloatArray) -> _FittedDirect:
            return _FittedDirect(None, theta, log_scale, self.by_params_tokens)

        start = np.tile(mean, (sample.replicates, 1))
        noise = np.full(sample.replicates, ACCURACY_NOISE)
        for _ in range(3):
            scale = weight / np.hypot(noise[:, None], sample.sampling_sd[None, :])

            def residuals(theta: FloatArray, scale: FloatArray = scale) -> FloatArray:
                difference: FloatArray = (fitted(theta).accuracy(points) - sample.accuracy) * scale
                return difference

            start = solve_batch(residuals, start, prior_mean=mean, prior_sd=sd).parameters
            noise = residual_noise(fitted(start).accuracy(points) - sample.accuracy, sample.weight, ACCURACY_NOISE)
        return fitted(start)


METHODS = (
    Direct(name="direct", summary="accuracy as a law in compute", by_params_tokens=False),
    Direct(name="direct-nd", summary="accuracy as a law in parameters and tokens", by_params_tokens=True),
)
