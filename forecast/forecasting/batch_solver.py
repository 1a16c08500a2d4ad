"""Many small penalised least-squares problems at once: one per bootstrap replicate, solved together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from forecast.core.observations import BoolArray, FloatArray

ResidualFunction = Callable[[FloatArray], FloatArray]
"""Parameters (B, P) -> weighted residuals (B, M), in units of their standard deviation."""

_STEP = 1e-6
_MAX_DAMPING = 1e8
_LOOSE = 1.0
"""Damping under which a refused step that changes nothing means the minimum, not a step made too short."""


@dataclass(frozen=True, kw_only=True)
class BatchSolution:
    """Solutions of B problems of P parameters."""

    parameters: FloatArray
    """(B, P)."""
    cost: FloatArray
    """(B,): half the sum of squared residuals, prior terms included."""
    converged: BoolArray
    """(B,)."""
    iterations: int


def solve_batch(
    residuals: ResidualFunction,
    start: FloatArray,
    *,
    prior_mean: FloatArray,
    prior_sd: FloatArray,
    max_iterations: int = 40,
    tolerance: float = 1e-5,
) -> BatchSolution:
    """Minimise 1/2 sum_m r_m(theta)^2 + 1/2 sum_p ((theta_p - mean_p) / sd_p)^2 for each of B problems.

    Levenberg-Marquardt with forward differences, one damping per problem (Nocedal & Wright 2006, chapter 10). The
    priors are Gaussian; an infinite `prior_sd` means none.

    Args:
        residuals: (B, P) -> (B, M); row b depends on row b only. It may be called with any number of rows of `start`.
        start: (B, P).
        prior_mean: (P,).
        prior_sd: (P,).
        max_iterations: at most so many steps.
        tolerance: relative decrease of the cost under which a problem counts as solved.

    >>> x = np.array([0.0, 1.0, 2.0]); y = np.array([[1.0, 3.0, 5.0], [0.0, 0.0, 0.0]])
    >>> flat = np.full(2, np.inf)
    >>> s = solve_batch(lambda t: t[:, :1] + t[:, 1:] * x - y, np.zeros((2, 2)), prior_mean=np.zeros(2), prior_sd=flat)
    >>> np.allclose(s.parameters, [[1, 2], [0, 0]], atol=1e-5)
    True
    """
    theta = np.array(start, dtype=np.float64)
    batch, width = theta.shape
    precision = 1.0 / np.square(prior_sd)
    damping = np.full(batch, 1e-3)
    converged = np.zeros(batch, dtype=np.bool_)
    identity = np.eye(width)

    def cost_of(parameters: FloatArray, values: FloatArray) -> FloatArray:
        penalty = np.square(parameters - prior_mean) @ precision
        cost: FloatArray = 0.5 * (np.einsum("bm,bm->b", values, values) + penalty)
        return np.where(np.isfinite(cost), cost, np.inf)

    current = residuals(theta)
    cost = cost_of(theta, current)
    iteration = 0
    while iteration < max_iterations:
        iteration += 1
        jacobian = _forward_differences(residuals, theta, current)
        hessian = jacobian @ jacobian.transpose(0, 2, 1) + precision * identity
        gradient = (jacobian @ current[:, :, None])[:, :, 0] + (theta - prior_mean) * precision
        scale = np.einsum("bpp->bp", hessian) + 1e-12
        damped = hessian + (damping[:, None] * scale)[:, :, None] * identity
        step = -np.linalg.solve(damped, gradient[:, :, None])[:, :, 0]
        proposal = theta + step
        values = residuals(proposal)
        proposed_cost = cost_of(proposal, values)
        better = (proposed_cost <= cost) & ~converged
        finite = np.isfinite(proposed_cost)
        drop = np.where(finite, cost, np.inf) - np.where(finite, proposed_cost, 0.0)
        small = np.abs(drop) <= tolerance * (np.where(finite, cost, 0.0) + tolerance)
        theta = np.where(better[:, None], proposal, theta)
        current = np.where(better[:, None], values, current)
        converged |= (small & (better | (damping < _LOOSE))) | (~better & (damping >= _MAX_DAMPING))
        cost = np.where(better, proposed_cost, cost)
        damping = np.clip(np.where(better, damping / 4.0, damping * 6.0), 1e-9, _MAX_DAMPING)
        if bool(converged.all()):
            break
    return BatchSolution(parameters=theta, cost=cost, converged=converged, iterations=iteration)


def _forward_differences(residuals: ResidualFunction, theta: FloatArray, current: FloatArray) -> FloatArray:
    """(B, P, M): one residual vector more per parameter."""
    jacobian = np.empty((theta.shape[0], theta.shape[1], current.shape[1]))
    for p in range(theta.shape[1]):
        step = _STEP * np.maximum(1.0, np.abs(theta[:, p]))
        moved = theta.copy()
        moved[:, p] += step
        jacobian[:, p] = (residuals(moved) - current) / step[:, None]
    jacobian[~np.isfinite(jacobian)] = 0.0
    return jacobian
