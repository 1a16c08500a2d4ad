"""Many small penalised least-squares problems at once: one per bootstrap replicate, solved together.

The point solver (`solver`) looks for one global optimum of a fit without priors. This one polishes thousands of related fits
whose priors make them well behaved: Levenberg-Marquardt with analytic Jacobians, one damping per problem (Nocedal & Wright
2006, chapter 10). Every problem ends with a status; nobody should use a solution without reading it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecast.laws.law import FloatArray

BoolArray = NDArray[np.bool_]
Residuals = Callable[[FloatArray], FloatArray]
"""Coordinates (B, P) -> weighted residuals (B, M), in units of their standard deviation."""
Jacobian = Callable[[FloatArray], FloatArray]
"""Coordinates (B, P) -> derivatives of the residuals (B, M, P)."""

TOLERANCE = 1e-10
"""Decrease that the quadratic model still promises, relative to the cost: 1e-5 of a coordinate's standard error."""
MAX_ITERATIONS = 200
_MAX_DAMPING = 1e10
_MIN_DAMPING = 1e-12
_RETRY_DAMPING = 10.0
"""First damping of a second attempt: short steps, where the first attempt's were too bold."""


@dataclass(frozen=True, kw_only=True)
class ReplicateSolution:
    """Solutions of B problems of P coordinates."""

    u: FloatArray
    """(B, P)."""
    cost: FloatArray
    """(B,): half the sum of squared residuals, prior terms included."""
    converged: BoolArray
    """(B,): whether the optimum was reached; where False, the best point found is not a fit."""
    iterations: int


def solve_replicates(
    residuals: Residuals,
    jacobian: Jacobian,
    start: FloatArray,
    *,
    prior_mean: FloatArray,
    prior_sd: FloatArray,
    max_iterations: int = MAX_ITERATIONS,
    tolerance: float = TOLERANCE,
) -> ReplicateSolution:
    """Minimise 1/2 sum_m r_m(u)^2 + 1/2 sum_p ((u_p - mean_p) / sd_p)^2 for each of B problems.

    Problems that do not converge are solved a second time, from where the first problem that did ended.

    Args:
        residuals: row b depends on row b of its argument only.
        jacobian: of the residuals.
        start: (B, P).
        prior_mean: (P,).
        prior_sd: (P,); infinite where there is no prior.
        max_iterations: of each attempt.
        tolerance: decrease still promised, relative to the cost, under which a problem is solved.

    >>> x = np.array([0.0, 1.0, 2.0]); y = np.array([[1.0, 3.0, 5.0], [0.0, 0.0, 0.0]])
    >>> slopes = np.stack([np.ones(3), x], axis=-1)
    >>> s = solve_replicates(lambda u: u @ slopes.T - y, lambda u: np.broadcast_to(slopes, (2, 3, 2)), np.zeros((2, 2)),
    ...                      prior_mean=np.zeros(2), prior_sd=np.full(2, np.inf))
    >>> np.allclose(s.u, [[1, 2], [0, 0]]), s.converged.all()
    (True, np.True_)
    """
    precision = 1.0 / np.square(prior_sd)
    prior = (prior_mean, precision)
    limits = (max_iterations, tolerance)
    first = _descend(residuals, jacobian, start, prior, limits, damping=1e-3)
    if first.converged.all() or not first.converged.any():
        return first
    again = first.u.copy()
    again[~first.converged] = first.u[np.flatnonzero(first.converged)[0]]
    second = _descend(residuals, jacobian, again, prior, limits, damping=_RETRY_DAMPING)
    # A problem that was solved stays as it was: the second attempt is only for the others.
    better = ~first.converged & (second.converged | (second.cost < first.cost))
    return ReplicateSolution(
        u=np.where(better[:, None], second.u, first.u),
        cost=np.where(better, second.cost, first.cost),
        converged=first.converged | (better & second.converged),
        iterations=first.iterations + second.iterations,
    )


@np.errstate(all="ignore")  # Steps may overflow a law: they cost infinity and are refused.
def _descend(
    residuals: Residuals,
    jacobian: Jacobian,
    start: FloatArray,
    prior: tuple[FloatArray, FloatArray],
    limits: tuple[int, float],
    *,
    damping: float,
) -> ReplicateSolution:
    mean, precision = prior
    max_iterations, tolerance = limits
    u = np.array(start, dtype=np.float64)
    identity = np.eye(u.shape[1])
    lam = np.full(len(u), damping)

    def cost_of(u: FloatArray, values: FloatArray) -> FloatArray:
        cost = 0.5 * (np.einsum("bm,bm->b", values, values) + np.square(u - mean) @ precision)
        return np.where(np.isfinite(cost), cost, np.inf)

    current = residuals(u)
    cost = cost_of(u, current)
    converged = np.zeros(len(u), dtype=np.bool_)
    given_up = ~np.isfinite(cost)
    iteration = 0
    while iteration < max_iterations and not bool((converged | given_up).all()):
        iteration += 1
        slopes = jacobian(u)
        slopes = np.where(np.isfinite(slopes), slopes, 0.0)
        hessian = np.swapaxes(slopes, 1, 2) @ slopes + precision * identity
        gradient = (np.swapaxes(slopes, 1, 2) @ current[:, :, None])[:, :, 0] + (u - mean) * precision
        scale = np.einsum("bpp->bp", hessian) + 1e-12
        damped = hessian + (lam[:, None] * scale)[:, :, None] * identity
        step = -np.linalg.solve(damped, np.where(np.isfinite(gradient), gradient, 0.0)[:, :, None])[:, :, 0]
        promised = -np.sum(gradient * step, axis=1) - 0.5 * np.einsum("bp,bpq,bq->b", step, hessian, step)
        values = residuals(u + step)
        found = cost_of(u + step, values)
        gain = cost - found
        # Without damping the model's promise is the Newton decrement: that, and not a short step, means convergence.
        near = promised <= tolerance * (cost + tolerance) * np.minimum(1.0, 1.0 / np.maximum(lam, 1e-12))
        better = (gain >= 0) & ~converged
        u = np.where(better[:, None], u + step, u)
        current = np.where(better[:, None], values, current)
        cost = np.where(better, found, cost)
        converged |= near & ~given_up
        trust = gain / np.maximum(promised, 1e-300)
        factor = np.where(better, np.where(trust > 0.75, 0.1, np.where(trust > 0.25, 0.5, 2.0)), 8.0)
        lam = np.clip(lam * factor, _MIN_DAMPING, 10 * _MAX_DAMPING)
        given_up |= (lam > _MAX_DAMPING) & ~converged
    return ReplicateSolution(u=u, cost=cost, converged=converged, iterations=iteration)
