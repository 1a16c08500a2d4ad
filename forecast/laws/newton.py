"""A damped Newton method within bounds, for many starting points at once.

Each step solves (|H| + lambda) s = -g in scaled coordinates, |H| being the Hessian with its eigenvalues made positive, so
that saddles repel. Coordinates at a bound whose gradient points outward are held (Bertsekas 1982, projected Newton).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from forecast.laws.law import FloatArray

Value = Callable[[FloatArray, NDArray[np.intp]], FloatArray]
Derivatives = Callable[[FloatArray, NDArray[np.intp]], tuple[FloatArray, FloatArray]]

_EIGEN_FLOOR = 1e-12
"""Least curvature, of a Hessian scaled to unit diagonal: smaller eigenvalues are rounding, and make steps meaningless."""
_MAX_DAMPING = 1e12
"""Above this a step is smaller than rounding, so nothing more can be gained."""
_MIN_DAMPING = 1e-14
"""Below rounding of the unit diagonal: a pure Newton step."""
_FLAT_STEPS = 4
"""Steps in a row that gain nothing but rounding before a point counts as settled."""


class Stop(IntEnum):
    """Why a point stopped."""

    CONVERGED = 0
    """The quadratic model promises less than the tolerance."""
    STALLED = 1
    """No step lowers the objective any more, at whatever damping: a kink, or the end of machine precision."""
    ITERATIONS = 2
    UNDEFINED = 3
    """The objective is not finite at the start."""


@dataclass(frozen=True, kw_only=True)
class Minima:
    """End points of a batch."""

    u: FloatArray
    value: FloatArray
    iterations: NDArray[np.int64]
    stop: NDArray[np.int64]
    decrement: FloatArray
    """Decrease that the last quadratic model still promised, relative to the objective."""


def minimise(
    value: Value,
    derivatives: Derivatives,
    u: FloatArray,
    *,
    lower: FloatArray,
    upper: FloatArray,
    max_iterations: int = 300,
    tolerance: float = 1e-13,
    chunk: int = 4096,
) -> Minima:
    """Minimise from every row of u (batch, coordinates) within bounds; `chunk` limits how many rows are worked on at once."""
    limits = {"max_iterations": max_iterations}
    parts = [
        _minimise_chunk(value, derivatives, u[begin : begin + chunk], begin, (lower, upper), tolerance=tolerance, **limits)
        for begin in range(0, len(u), chunk)
    ]
    return Minima(
        u=np.concatenate([part.u for part in parts]),
        value=np.concatenate([part.value for part in parts]),
        iterations=np.concatenate([part.iterations for part in parts]),
        stop=np.concatenate([part.stop for part in parts]),
        decrement=np.concatenate([part.decrement for part in parts]),
    )


def _minimise_chunk(
    value: Value,
    derivatives: Derivatives,
    start: FloatArray,
    offset: int,
    bounds: tuple[FloatArray, FloatArray],
    *,
    max_iterations: int,
    tolerance: float,
) -> Minima:
    u = np.clip(start, *bounds)
    count = len(u)
    current = value(u, np.arange(offset, offset + count))
    # Changes are judged relative to the objective; the floor is for a perfect fit, whose objective falls to 0.
    floor = 1e-28 * np.where(np.isfinite(current), np.maximum(current, 1e-30), 1.0)
    stop = np.where(np.isfinite(current), Stop.ITERATIONS, Stop.UNDEFINED).astype(np.int64)
    damping = np.full(count, 1e-3)
    iterations = np.zeros(count, dtype=np.int64)
    flat = np.zeros(count, dtype=np.int64)
    decrement = np.full(count, np.inf)
    gradient = np.zeros_like(u)
    hessian = np.zeros((*u.shape, u.shape[1]))
    stale = np.ones(count, dtype=np.bool_)
    active = np.flatnonzero(np.isfinite(current))
    for _ in range(max_iterations):
        if len(active) == 0:
            break
        renew = active[stale[active]]
        if len(renew):
            # A rejected step changes the damping alone, so its derivatives, the dearest part, are kept.
            gradient[renew], hessian[renew] = derivatives(u[renew], renew + offset)
            stale[renew] = False
        step, promised = _step(u[active], gradient[active], hessian[active], damping[active], bounds)
        trial = np.clip(u[active] + step, *bounds)
        found = value(trial, active + offset)
        gain = current[active] - found
        scale = np.maximum(np.abs(current[active]), floor[active])
        # Without damping the model's promise is the Newton decrement: that, and not a short step, means convergence.
        decrement[active] = promised / scale
        better = gain > 0
        iterations[active] += 1
        moved = active[better]
        u[moved], current[moved], stale[moved] = trial[better], found[better], True
        with np.errstate(over="ignore", invalid="ignore"):
            trust = gain / np.maximum(promised, 1e-300)
        # Levenberg-Marquardt's rule: a step as good as promised trusts the model more, a failed one much less.
        factor = np.where(better, np.where(trust > 0.75, 0.1, np.where(trust > 0.25, 0.5, 2.0)), 8.0)
        damping[active] = np.clip(damping[active] * factor, _MIN_DAMPING, 10 * _MAX_DAMPING)
        # Gains in the last digit could go on for ever; only several in a row say that there is nothing else left.
        flat[active] = np.where(better & (gain <= 1e-14 * scale), flat[active] + 1, np.where(better, 0, flat[active]))
        # With damping the promise is small because the step is: it must be smaller still before it means convergence.
        converged = decrement[active] <= tolerance * np.minimum(1.0, 1.0 / np.maximum(damping[active], 1e-12))
        converged |= flat[active] >= _FLAT_STEPS
        stalled = damping[active] > _MAX_DAMPING
        stop[active[converged]] = Stop.CONVERGED
        stop[active[stalled & ~converged]] = Stop.STALLED
        active = active[~(converged | stalled)]
    return Minima(u=u, value=current, iterations=iterations, stop=stop, decrement=decrement)


def _step(
    u: FloatArray,
    gradient: FloatArray,
    hessian: FloatArray,
    damping: FloatArray,
    bounds: tuple[FloatArray, FloatArray],
) -> tuple[FloatArray, FloatArray]:
    """Damped, saddle-free Newton step (batch, coordinates), and the decrease that the quadratic model promises."""
    # A derivative that overflows must not spoil the other rows of the batched eigendecomposition.
    gradient = np.where(np.isfinite(gradient), gradient, 0.0)
    hessian = np.where(np.isfinite(hessian), hessian, 0.0)
    held = ((u <= bounds[0]) & (gradient > 0)) | ((u >= bounds[1]) & (gradient < 0))
    g = np.where(held, 0.0, gradient)
    loose = ~held
    h = np.where(loose[..., :, None] & loose[..., None, :], hessian, 0.0)
    # Unit diagonal makes damping and eigenvalue floor mean the same for an exponent and for the logarithm of an amplitude.
    diagonal = np.abs(np.diagonal(h, axis1=-2, axis2=-1))
    largest = np.max(diagonal, axis=-1, keepdims=True)
    scale = 1.0 / np.sqrt(np.maximum(diagonal, 1e-10 * largest + 1e-200))
    h = h * scale[..., :, None] * scale[..., None, :]
    g = g * scale
    eigenvalues, vectors = np.linalg.eigh(h)
    positive = np.maximum(np.abs(eigenvalues), _EIGEN_FLOOR)
    rotated = (g[..., None, :] @ vectors)[..., 0, :]
    s = -(vectors @ (rotated / (positive + damping[:, None]))[..., None])[..., 0]
    s = np.where(held, 0.0, s)
    # A bound cuts the step: what is promised is what the clipped step would gain.
    real = np.clip(u + s * scale, *bounds) - u
    s = real / scale
    promised = -np.sum(g * s, axis=-1) - 0.5 * np.einsum("bi,bij,bj->b", s, h, s)
    # Where the model bends downwards (a saddle) it promises nothing sensible: half the slope's promise stands in for it.
    curved = -np.sum(g * s, axis=-1) * 0.5
    return real, np.where(promised > 0, promised, np.maximum(curved, 0.0))
