"""Accuracy directly as a law of scale: what is left to the ceiling decays as a stretched exponential of C, or of (N, D)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecast.core.observations import FloatArray
from forecast.forecasting.batch_solver import solve_batch
from forecast.forecasting.sample import Points, Sample
from forecast.forecasting.smooth_law import LOG_EXPONENT_IN_COMPUTE, LOG_EXPONENT_IN_SIZE, residual_noise

FLOOR_SD = 0.03
"""How far a benchmark's floor lies from the chance of guessing: small models fall below it on some."""
CEILING_LOGIT = (2.6, 1.0)
"""Mean and sd of the ceiling's logit (0.93; 0.83 to 0.97): benchmarks hold wrong labels and ambiguous items, and low
accuracies cannot tell."""
LOG_HAZARD_IN_COMPUTE = (1.0, 2.0)
"""Mean and sd of log h at the largest run: between nothing and nearly all of the way to the ceiling. The mean is above 0,
for of all laws that agree with accuracies at chance the likeliest would else be the one that leaves chance next."""
LOG_HAZARD_IN_SIZE = (0.3, 2.0)
"""The same for each of the two terms in N and D."""
ACCURACY_NOISE = 0.01
"""Residual scatter between runs that a fit starts from."""
ROUNDS = 3
"""Alternations of law and residual scatter; the scatter has settled by then."""


@dataclass(frozen=True, kw_only=True)
class AccuracyLaw:
    """accuracy = floor + (ceiling - floor) exp(-h), h = A C^-alpha or A N^-alpha + B D^-beta.

    Columns: floor, logit of the ceiling, log A, log alpha, and for the law in N and D also log B, log beta.
    """

    parameters: FloatArray
    """(B, 4) or (B, 6)."""
    log_scale: tuple[float, float]
    """Logarithms of C, or of N and D, at which A and B are stated."""

    @property
    def by_params_tokens(self) -> bool:
        """Whether this is the law in N and D."""
        return bool(self.parameters.shape[1] == 6)

    def value(self, points: Points) -> FloatArray:
        """(B, K)."""
        theta = [self.parameters[:, [i]] for i in range(self.parameters.shape[1])]
        x = points.log_params if self.by_params_tokens else points.log_flops
        hazard = _power(theta[2], theta[3], x - self.log_scale[0])
        if self.by_params_tokens:
            hazard = hazard + _power(theta[4], theta[5], points.log_tokens - self.log_scale[1])
        ceiling = 1.0 / (1.0 + np.exp(-np.clip(theta[1], -30.0, 30.0)))
        result: FloatArray = theta[0] + (ceiling - theta[0]) * np.exp(-hazard)
        return result


def _power(log_scale: FloatArray, log_exponent: FloatArray, x: FloatArray) -> FloatArray:
    result: FloatArray = np.exp(np.clip(log_scale - np.exp(np.clip(log_exponent, -8.0, 3.0)) * x, -30.0, 30.0))
    return result


def fit_accuracy_law(sample: Sample, *, by_params_tokens: bool) -> AccuracyLaw:
    """Fit every replicate by least squares in accuracy, with priors on floor, ceiling and exponents.

    Rows are weighted by their sampling error together with the residual scatter, which is estimated in turn.
    """
    if by_params_tokens:
        log_scale = (float(sample.log_params.max()), float(sample.log_tokens.max()))
        term = (LOG_HAZARD_IN_SIZE, LOG_EXPONENT_IN_SIZE)
        prior = np.array([(sample.floor, FLOOR_SD), CEILING_LOGIT, *term, *term])
    else:
        log_scale = (float(sample.log_flops.max()), 0.0)
        prior = np.array([(sample.floor, FLOOR_SD), CEILING_LOGIT, LOG_HAZARD_IN_COMPUTE, LOG_EXPONENT_IN_COMPUTE])
    mean, sd = prior.T
    points, weight = sample.points, np.sqrt(sample.weight)
    theta = np.tile(mean, (sample.replicates, 1))
    noise = np.full(sample.replicates, ACCURACY_NOISE)
    for _ in range(ROUNDS):
        scale = weight / np.hypot(noise[:, None], sample.sampling_sd[None, :])

        def residuals(parameters: FloatArray, scale: FloatArray = scale) -> FloatArray:
            law = AccuracyLaw(parameters=parameters, log_scale=log_scale)
            difference: FloatArray = (law.value(points) - sample.accuracy) * scale
            return difference

        theta = solve_batch(residuals, theta, prior_mean=mean, prior_sd=sd).parameters
        fitted = AccuracyLaw(parameters=theta, log_scale=log_scale).value(points)
        noise = residual_noise(fitted - sample.accuracy, sample.weight, ACCURACY_NOISE)
    return AccuracyLaw(parameters=theta, log_scale=log_scale)
