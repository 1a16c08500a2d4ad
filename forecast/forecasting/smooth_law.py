"""Step 1: a smooth metric as a power law with an irreducible term, in C or (N, D), with priors where data are silent."""

from __future__ import annotations

from dataclasses import dataclass

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


def fit_compute_law(sample: Sample, response: FloatArray) -> ComputeLaw:
    """Fit log value by least squares with priors on the exponent and the irreducible share."""
    scale = np.maximum(np.min(response, axis=1), 1e-9)
    log_c0 = float(np.max(sample.log_flops))
    batch = response.shape[0]
    mean = np.array([IRREDUCIBLE_LOGIT[0], -1.0, LOG_EXPONENT_IN_COMPUTE[0]])
    sd = np.array([IRREDUCIBLE_LOGIT[1], 3.0, LOG_EXPONENT_IN_COMPUTE[1]])
    weight = np.sqrt(sample.weight)
    target = np.log(np.maximum(response, 1e-9))

    def solve(noise: FloatArray, start: FloatArray) -> FloatArray:
        def residuals(theta: FloatArray) -> FloatArray:
            law = ComputeLaw(parameters=theta, log_c0=log_c0, scale=scale)
            difference: FloatArray = (np.log(law.value(sample.points)) - target) * weight / noise[:, None]
            return difference

        return solve_batch(residuals, start, prior_mean=mean, prior_sd=sd).parameters

    start = np.tile(mean, (batch, 1))
    noise = np.full(batch, RELATIVE_NOISE)
    for _ in range(2):
        start = solve(noise, start)
        law = ComputeLaw(parameters=start, log_c0=log_c0, scale=scale)
        noise = residual_noise(np.log(law.value(sample.points)) - target, sample.weight, RELATIVE_NOISE)
    return ComputeLaw(parameters=solve(noise, start), log_c0=log_c0, scale=scale)


def fit_params_tokens_law(sample: Sample, response: FloatArray) -> ParamsTokensLaw:
    """As `fit_compute_law`, in N and D."""
    scale = np.maximum(np.min(response, axis=1), 1e-9)
    log_n0, log_d0 = float(np.max(sample.log_params)), float(np.max(sample.log_tokens))
    batch = response.shape[0]
    mean = np.array([IRREDUCIBLE_LOGIT[0], -1.5, -1.5, LOG_EXPONENT_IN_SIZE[0], LOG_EXPONENT_IN_SIZE[0]])
    sd = np.array([IRREDUCIBLE_LOGIT[1], 3.0, 3.0, LOG_EXPONENT_IN_SIZE[1], LOG_EXPONENT_IN_SIZE[1]])
    weight = np.sqrt(sample.weight)
    target = np.log(np.maximum(response, 1e-9))

    def solve(noise: FloatArray, start: FloatArray) -> FloatArray:
        def residuals(theta: FloatArray) -> FloatArray:
            law = ParamsTokensLaw(parameters=theta, log_n0=log_n0, log_d0=log_d0, scale=scale)
            difference: FloatArray = (np.log(law.value(sample.points)) - target) * weight / noise[:, None]
            return difference

        return solve_batch(residuals, start, prior_mean=mean, prior_sd=sd).parameters

    start = np.tile(mean, (batch, 1))
    noise = np.full(batch, RELATIVE_NOISE)
    for _ in range(2):
        start = solve(noise, start)
        law = ParamsTokensLaw(parameters=start, log_n0=log_n0, log_d0=log_d0, scale=scale)
        noise = residual_noise(np.log(law.value(sample.points)) - target, sample.weight, RELATIVE_NOISE)
    return ParamsTokensLaw(parameters=solve(noise, start), log_n0=log_n0, log_d0=log_d0, scale=scale)


PRIOR_DEGREES = 3.0
"""How many observations the starting guess of a residual scatter counts for."""


def residual_noise(residual: FloatArray, weight: FloatArray, guess: float) -> FloatArray:
    """(B,) residual standard deviation, shrunk towards a guess: sqrt((nu s0^2 + sum w r^2) / (nu + sum w))."""
    total = (weight * np.square(residual)).sum(axis=1) + PRIOR_DEGREES * guess**2
    result: FloatArray = np.sqrt(total / (weight.sum(axis=1) + PRIOR_DEGREES))
    return result
