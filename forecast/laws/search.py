"""The search for a fit's optimum: what is minimised, from which starts, and which end points agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from forecast.core.errors import FitError
from forecast.laws.law import Constraints, FloatArray, Law, Space
from forecast.laws.losses import Loss
from forecast.laws.newton import Minima, minimise
from forecast.laws.objective import Objective
from forecast.laws.points import Points
from forecast.laws.starts import start_points, thin

AGREEMENT = 1e-7
_POLISH_ROWS = 20_000
"""More rows than this are polished on a thinned set first, and only the best starts on all."""
_ROUGH_STEPS = 20
"""Steps after which starts of a costly law are compared."""
_CELLS = 6_000_000
"""Batch x rows x parameters held at once."""


def build_objective(
    law: Law, points: Points, loss: Loss, space: Space, constraints: Constraints, soft_scale: float
) -> Objective:
    """Assemble what is minimised; `soft_scale` turns 1 / sd^2 into units of the loss."""
    names = law.names
    free = np.array([index for index, name in enumerate(names) if name not in constraints.fixed], dtype=np.intp)
    limits = {p.name: (p.lower, p.upper) for p in law.parameters} | dict(law.domain(points.x, points.y))
    for name, (low, high) in constraints.bounds.items():
        limits[name] = (max(low, limits[name][0]), min(high, limits[name][1]))
        if limits[name][0] >= limits[name][1]:
            raise FitError(f"no value of {name} is within its bounds and these measurements'", expected="wider bounds")
    template = np.array([float(constraints.fixed.get(name, 1.0)) for name in names])
    mean = np.array([constraints.soft[names[i]].mean if names[i] in constraints.soft else 0.0 for i in free])
    precision = np.array(
        [soft_scale / constraints.soft[names[i]].sd ** 2 if names[i] in constraints.soft else 0.0 for i in free]
    )
    return Objective(
        law=law,
        loss=loss,
        space=space,
        x=points.x,
        y=points.y,
        sigma=points.sigma,
        weights=points.weights,
        template=template,
        free=free,
        is_log=np.array([law.parameters[i].log for i in free]),
        lower=np.array([limits[names[i]][0] for i in free]),
        upper=np.array([limits[names[i]][1] for i in free]),
        soft_mean=mean,
        soft_precision=precision,
    )


def polish(objective: Objective, u: FloatArray, *, max_iterations: int = 300, tolerance: float = 1e-13) -> Minima:
    """Minimise from each row of u (batch, free) within the parameters' domains."""
    lower, upper = objective.bounds()
    return minimise(
        objective.value,
        objective.derivatives,
        u,
        lower=lower,
        upper=upper,
        max_iterations=max_iterations,
        tolerance=tolerance,
        chunk=max(1, _CELLS // (len(objective.x) * max(1, len(objective.free)))),
    )


def search(
    objective: Objective, *, seed: int, starts: int, extra: Sequence[FloatArray] = ()
) -> tuple[FloatArray, Minima, NDArray[np.bool_]]:
    """Return the best optimum u (free,), all end points, and which of them agree with the best."""
    bounds = objective.bounds()
    u = start_points(objective, count=starts, seed=seed, span=bounds)
    if len(extra):
        given = objective.coordinates(np.array(extra, dtype=np.float64))
        u = np.concatenate([np.clip(given, *bounds), u])
    if len(objective.y) > _POLISH_ROWS:
        small = objective.take(thin(objective.x, _POLISH_ROWS // 4))
        rough = polish(small, u)
        u = rough.u[np.argsort(rough.value, kind="stable")[:3]]
    elif objective.law.costly:
        rough = polish(objective, u, max_iterations=_ROUGH_STEPS)
        u = rough.u[np.argsort(rough.value, kind="stable")[: max(8, len(u) // 4)]]
    minima = polish(objective, u)
    if not np.any(np.isfinite(minima.value)):
        raise FitError(
            f"'{objective.law.name}' is undefined at every starting point for these measurements",
            remedy="check the units of x and y",
        )
    best = int(np.argmin(minima.value))
    low = minima.value[best]
    # What rounding leaves of a perfect fit: squares of 1e-12, or the deviance's digits.
    size = float(np.sum(objective.weights * getattr(objective.loss, "n_items", 1.0)))
    noise_floor = (1e-13 if objective.loss.is_likelihood else 1e-24) * max(size, 1.0)
    agreed = minima.value <= low + AGREEMENT * abs(low) + noise_floor
    return minima.u[best], minima, agreed
