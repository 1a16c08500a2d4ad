"""Step 1: a smooth metric as a power law with an irreducible term, in C or (N, D), with priors where data are silent."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from forecast.core.observations import FloatArray
from forecast.forecasting.batch_solver import solve_batch
from forecast.forecasting.sample import Points, Sample

LOG_EXPONENT_IN_COMPUTE = (np.log(0.15), 0.4)
"""Mean and sd of log alpha: with exponents .35 and .37 in N and D (Besiroglu 2024, arXiv:2404.10102) the best exponent in C is
alpha beta / (alpha + beta) = .18; Kaplan 2020 (arXiv:2001.08361) without irreducible loss has .05."""
LOG_EXPONENT_IN_SIZE = (np.log(0.3), 0.3)
"""The same for N and D: Hoffmann 2022 .34 and .28, Besiroglu 2024 .35 and .37."""
IRREDUCIBLE_LOGIT = (0.0, 1.0)
"""Mean and sd of logit(E / smallest value seen): about half of what is left, loosely."""
RELATIVE_NOISE = 0.01
"""Residual scatter of log NLL between runs that a fit starts from."""

ROUNDS = 3
"""Alternations of law and residual scatter."""


def _share(logit: FloatArray) -> FloatArray:
    result: FloatArray = 1.0 / (1.0 + np.exp(-np.clip(logit, -30.0, 30.0)))
    return result


@dataclass(frozen=True, kw_only=True)
class ComputeLaw:
    """value = E + A (C / C0)^-alpha per replicate; columns: logit(E / scale), log A, log alpha."""

    parameters: FloatArray
    log_c0: float
    scale: FloatArray
    """(B,) smallest value seen, in the metric's unit."""

    def value(self, points: Points) -> FloatArray:
        """(B, K)."""
        x = points.log_flops - self.log_c0
        e, a, log_alpha = (self.parameters[:, [i]] for i in range(3))
        tail = np.exp(np.clip(a - np.exp(np.clip(log_alpha, -8, 3)) * x, -50, 50))
        result: FloatArray = self.scale[:, None] * (_share(e) + tail)
        return result

    def with_parameters(self, parameters: FloatArray) -> ComputeLaw:
        """Return the same law with other parameters."""
        return replace(self, parameters=parameters)


@dataclass(frozen=True, kw_only=True)
class ParamsTokensLaw:
    """value = E + A (N / N0)^-alpha + B (D / D0)^-beta; columns: logit(E / scale), log A, log B, log alpha, log beta."""

    parameters: FloatArray
    log_n0: float
    log_d0: float
    scale: FloatArray

    def value(self, points: Points) -> FloatArray:
        """(B, K)."""
        e, a, b, alpha, beta = (self.parameters[:, [i]] for i in range(5))
        n = np.clip(a - np.exp(np.clip(alpha, -8, 3)) * (points.log_params - self.log_n0), -50, 50)
        d = np.clip(b - np.exp(np.clip(beta, -8, 3)) * (points.log_tokens - self.log_d0), -50, 50)
        result: FloatArray = self.scale[:, None] * (_share(e) + np.exp(n) + np.exp(d))
        return result

    def with_parameters(self, parameters: FloatArray) -> ParamsTokensLaw:
        """Return the same law with other parameters."""
        return replace(self, parameters=parameters)


def law_prior(law: ComputeLaw | ParamsTokensLaw) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation of the normal priors on a law's parameters."""
    e, (c, c_sd), (n, n_sd) = IRREDUCIBLE_LOGIT, LOG_EXPONENT_IN_COMPUTE, LOG_EXPONENT_IN_SIZE
    if isinstance(law, ComputeLaw):
        return np.array([e[0], -1.0, c]), np.array([e[1], 3.0, c_sd])
    return np.array([e[0], -1.5, -1.5, n, n]), np.array([e[1], 3.0, 3.0, n_sd, n_sd])


def fit_compute_law(sample: Sample, response: FloatArray) -> ComputeLaw:
    """Fit log value in C by least squares with priors on the exponent and the irreducible share, to every replicate."""
    law = ComputeLaw(
        parameters=np.zeros((response.shape[0], 3)), log_c0=float(np.max(sample.log_flops)), scale=_smallest(response)
    )
    return law.with_parameters(_fit(law, sample, response))


def fit_params_tokens_law(sample: Sample, response: FloatArray) -> ParamsTokensLaw:
    """As `fit_compute_law`, in N and D."""
    law = ParamsTokensLaw(
        parameters=np.zeros((response.shape[0], 5)),
        log_n0=float(np.max(sample.log_params)),
        log_d0=float(np.max(sample.log_tokens)),
        scale=_smallest(response),
    )
    return law.with_parameters(_fit(law, sample, response))


def _smallest(response: FloatArray) -> FloatArray:
    result: FloatArray = np.maximum(np.min(response, axis=1), 1e-9)
    return result


def _fit(law: ComputeLaw | ParamsTokensLaw, sample: Sample, response: FloatArray) -> FloatArray:
    mean, sd = law_prior(law)
    points, weight, target = sample.points, np.sqrt(sample.weight), np.log(np.maximum(response, 1e-9))
    theta = np.tile(mean, (response.shape[0], 1))
    noise = np.full(response.shape[0], RELATIVE_NOISE)
    for _ in range(ROUNDS):

        def residuals(parameters: FloatArray, noise: FloatArray = noise) -> FloatArray:
            difference: FloatArray = np.log(law.with_parameters(parameters).value(points)) - target
            return difference * weight / noise[:, None]

        theta = solve_batch(residuals, theta, prior_mean=mean, prior_sd=sd).parameters
        noise = residual_noise(np.log(law.with_parameters(theta).value(points)) - target, sample.weight, RELATIVE_NOISE)
    return theta


PRIOR_DEGREES = 3.0
"""How many observations the starting guess of a residual scatter counts for."""


def residual_noise(residual: FloatArray, weight: FloatArray, guess: float) -> FloatArray:
    """(B,) residual standard deviation, shrunk towards a guess: sqrt((nu s0^2 + sum w r^2) / (nu + sum w))."""
    total = (weight * np.square(residual)).sum(axis=1) + PRIOR_DEGREES * guess**2
    result: FloatArray = np.sqrt(total / (weight.sum(axis=1) + PRIOR_DEGREES))
    return result
