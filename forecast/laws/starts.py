"""Where the search begins: a grid over the nonlinear parameters, the linear ones eliminated by least squares.

Variable projection (Golub & Pereyra 1973): when y = sum_k c_k phi_k(x; b), the best c for given b is a linear problem, so
only b needs a grid. The basis phi_k is the law's own derivative with respect to c_k.
"""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from forecast.laws.law import FloatArray, Law, Space
from forecast.laws.objective import Objective

_SCREEN_ROWS = 512
"""Rows on which grid points are compared: enough to rank them, cheap for a million measurements."""
_GRID_CELLS = 4_000_000
"""Grid points x rows evaluated at once."""


def thin(x: FloatArray, rows: int) -> NDArray[np.intp]:
    """Positions of at most `rows` measurements, evenly spread over the sorted first input (ties by the others)."""
    if len(x) <= rows:
        return np.arange(len(x))
    order = np.lexsort(x.T[::-1])
    return order[np.unique(np.linspace(0, len(x) - 1, rows).round().astype(np.intp))]


def start_points(objective: Objective, *, count: int, seed: int, span: tuple[FloatArray, FloatArray]) -> FloatArray:
    """Return up to `count` starting points (count, free) in solver coordinates, best first, and jittered copies of the best.

    `span` is the box (lower, upper) in solver coordinates that jittered copies stay in.
    """
    law = objective.law
    grid = _grid(objective)
    u = np.clip(objective.coordinates(_inside(law, grid)), *span)
    value = _screen(objective, u)
    order = np.argsort(value, kind="stable")
    order = order[np.isfinite(value[order])]
    if len(order) == 0:
        return u[: max(1, count)]
    best = order[: max(1, count // 2)]
    rest = order[len(best) :]
    spread = rest[:: max(1, len(rest) // max(1, count // 4))][: count // 4]
    rng = np.random.default_rng(seed)
    near = u[rng.choice(best, size=max(1, count // 4))]
    width = np.where(objective.is_log, 0.5, 0.25 * np.maximum(np.abs(near), 0.1))
    jittered = np.clip(near + width * rng.standard_normal(near.shape), *span)
    return np.concatenate([u[best], u[spread], jittered])


def _inside(law: Law, theta: FloatArray) -> FloatArray:
    """Keep parameters strictly inside domains that a logarithm needs."""
    lower = np.array([max(p.lower, 1e-300) if p.log else p.lower for p in law.parameters])
    upper = np.array([p.upper for p in law.parameters])
    return np.clip(theta, lower, upper)


def _screen(objective: Objective, u: FloatArray) -> FloatArray:
    keep = thin(objective.x, _SCREEN_ROWS)
    small = objective.take(keep)
    step = max(1, _GRID_CELLS // len(keep))
    return np.concatenate([small.value(u[begin : begin + step]) for begin in range(0, len(u), step)])


def _grid(objective: Objective) -> FloatArray:
    """Full parameter vectors: the law's own starts, or its grid with the linear parameters solved for."""
    law = objective.law
    own = law.starts(objective.x, objective.y)
    free = set(objective.free.tolist())
    if own is not None:
        theta = np.array(own, dtype=np.float64)
    else:
        linear = {law.names.index(name) for name in law.linear}
        axes = [
            (float(objective.template[index]),) if index not in free else ((1.0,) if index in linear else tuple(parameter.grid))
            for index, parameter in enumerate(law.parameters)
        ]
        theta = np.array(list(product(*axes)), dtype=np.float64)
    held = [index for index in range(len(law.parameters)) if index not in free]
    theta[:, held] = objective.template[held]
    solve = np.array([law.names.index(name) for name in law.linear if law.names.index(name) in free], dtype=np.intp)
    if len(solve):
        theta = _eliminate(objective, theta, solve)
    return theta


def _eliminate(objective: Objective, theta: FloatArray, solve: NDArray[np.intp]) -> FloatArray:
    """Put in the linear parameters' weighted least-squares values, within their domains."""
    keep = thin(objective.x, _SCREEN_ROWS)
    x, y = objective.x[keep], objective.y[keep]
    weights = objective.weights[..., keep]
    weights = weights if weights.ndim == 1 else weights[0]
    root = np.sqrt(weights) / objective.sigma[keep]
    if objective.space is Space.LOG:
        root = root / y  # a small relative error is a small error of the logarithm
    out = theta.copy()
    step = max(1, _GRID_CELLS // (len(keep) * len(objective.law.parameters)))
    for begin in range(0, len(theta), step):
        out[begin : begin + step] = _eliminate_block(objective.law, theta[begin : begin + step], solve, x, y, root)
    return out


def _eliminate_block(
    law: Law, theta: FloatArray, solve: NDArray[np.intp], x: FloatArray, y: FloatArray, root: FloatArray
) -> FloatArray:
    theta = theta.copy()
    theta[:, solve] = 1.0
    with np.errstate(all="ignore"):
        basis = law.jacobian(x, theta)[..., solve]
        offset = law.predict(x, theta) - basis.sum(axis=-1)
        target = (y - offset) * root
        design = basis * root[:, None]
    fine = np.all(np.isfinite(design), axis=(-1, -2)) & np.all(np.isfinite(target), axis=-1)
    design = np.where(fine[:, None, None], design, 0.0)
    target = np.where(fine[:, None], target, 0.0)
    norm = np.sqrt(np.sum(design * design, axis=-2))
    design = design / np.where(norm > 0, norm, 1.0)[:, None, :]
    best = _bounded_least_squares(design, target, law, solve, norm)
    theta[:, solve] = best
    return theta


def _bounded_least_squares(
    design: FloatArray, target: FloatArray, law: Law, solve: NDArray[np.intp], norm: FloatArray
) -> FloatArray:
    """Least squares (grid, linear), trying every set of coefficients held at their lower bound: there are at most a few."""
    size = design.shape[-1]
    safe = np.where(norm > 0, norm, 1.0)
    lower = np.array([max(law.parameters[i].lower, 1e-12) if law.parameters[i].log else law.parameters[i].lower for i in solve])
    upper = np.array([law.parameters[i].upper for i in solve])
    gram = np.swapaxes(design, -1, -2) @ design
    moment = (np.swapaxes(design, -1, -2) @ target[..., None])[..., 0]
    best = np.clip(np.ones((len(design), size)), lower, upper)
    best_cost = np.full(len(design), np.inf)
    for held_count in range(size + 1):
        for held in combinations(range(size), held_count):
            loose = [index for index in range(size) if index not in held]
            if any(not np.isfinite(lower[index]) for index in held):
                continue
            scaled = np.zeros((len(design), size))
            scaled[:, list(held)] = lower[list(held)] * safe[:, list(held)]
            if loose:
                right = moment[:, loose] - (gram[:, loose][:, :, list(held)] @ scaled[:, list(held), None])[..., 0]
                inner = gram[:, loose][:, :, loose] + 1e-12 * np.eye(len(loose))
                scaled[:, loose] = np.linalg.solve(inner, right[..., None])[..., 0]
            coefficients = np.clip(scaled / safe, lower, upper)
            gap = target - (design @ (coefficients * safe)[..., None])[..., 0]
            cost = np.sum(gap * gap, axis=-1)
            better = cost < best_cost * (1 - 1e-12)
            best[better], best_cost[better] = coefficients[better], cost[better]
    return best
