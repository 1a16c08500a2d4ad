"""Whether measurements determine a law's parameters; what they do not determine is named.

Checks, in order: fewer distinct scales than parameters; a constant input; directions in which the fit is flat; and, for
asymptotes (irreducible loss, floor, ceiling), a profile over everything the asymptote could be: when more than half of that
range fits, the measurements say nothing useful about it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from forecast.laws.covariance import Covariances
from forecast.laws.law import FloatArray, Role
from forecast.laws.losses import LeastSquares
from forecast.laws.newton import minimise
from forecast.laws.objective import Objective
from forecast.laws.points import Points

_FLAT = 1e-11
"""Smallest eigenvalue of the unit-diagonal information that is told from rounding."""
_SHARE = 0.5
"""An asymptote is unidentified when more than this share of its possible range fits ..."""
_SPAN = 0.25
"""... and what fits is wider than this share of the measured span of y: ignorance narrower than that is harmless."""
_CHI2_95 = 3.841458820694124
_PROFILE_CELLS = 9


def find_unidentified(
    objective: Objective, u: FloatArray, found: Covariances, points: Points
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return names of parameters that are not determined, and one sentence for each reason."""
    law = objective.law
    names = [law.names[index] for index in objective.free]
    hard = [name for name, precision in zip(names, objective.soft_precision, strict=True) if precision == 0]
    used = points.x[points.weights > 0]
    distinct = len(np.unique(used, axis=0))
    if distinct < len(hard):
        reason = (
            f"{distinct} distinct {'scale' if distinct == 1 else 'scales'} "
            f"cannot determine the {len(hard)} free parameters of '{law.name}'"
        )
        return tuple(hard), (reason,)
    reasons = [
        f"{column.name} is the same in every row: its part of '{law.name}' cannot be told from a constant"
        for index, column in enumerate(law.inputs)
        if len(law.inputs) > 1 and column.positive and len(np.unique(used[:, index])) == 1
    ]
    flat, flat_reasons = _flat_directions(objective, u, names)
    reasons += flat_reasons
    bad = set(flat)
    for position, name in enumerate(names):
        if name not in hard or name in bad:
            continue
        doubt = _asymptote(objective, u, position, found, points)
        if doubt:
            bad.add(name)
            reasons.append(doubt)
    return tuple(name for name in names if name in bad), tuple(reasons)


def _flat_directions(objective: Objective, u: FloatArray, names: list[str]) -> tuple[list[str], list[str]]:
    """Parameters that take part in a direction without curvature."""
    plain = objective if objective.loss.is_likelihood else replace(objective, loss=LeastSquares(objective.space))
    matrix = _gauss_newton(plain, u)
    diagonal = np.diagonal(matrix)
    dead = ~(diagonal > 1e-300)
    scale = 1.0 / np.sqrt(np.where(dead, 1.0, diagonal))
    eigenvalues, vectors = np.linalg.eigh(matrix * scale[:, None] * scale[None, :])
    bad = [name for name, is_dead in zip(names, dead, strict=True) if is_dead]
    reasons = [f"{name} has no effect on the fit at its best value" for name in bad]
    for index in np.flatnonzero(eigenvalues < _FLAT * max(float(eigenvalues[-1]), 1e-300)):
        together = [name for name, part in zip(names, vectors[:, index], strict=True) if abs(part) > 0.2 and name not in bad]
        if together:
            bad += together
            reasons.append(f"{' and '.join(together)} cannot be told apart: other values fit equally well")
    return bad, reasons


def _gauss_newton(objective: Objective, u: FloatArray) -> FloatArray:
    with np.errstate(all="ignore"):
        theta = objective.theta(u[None])
        scale = np.where(objective.is_log, theta[0, objective.free], 1.0)
        jacobian = objective.law.jacobian(objective.x, theta)[0][:, objective.free] * scale
        predicted = objective.law.predict(objective.x, theta)[0]
        slope2 = np.broadcast_to(
            objective.loss.terms(predicted, objective.y, objective.sigma, objective.space)[2], predicted.shape
        )
        if not objective.loss.is_likelihood:
            slope = 1.0 / (predicted * objective.sigma) if objective.space.value == "log" else 1.0 / objective.sigma
            slope2 = slope * slope
        weight = objective.weights * np.maximum(slope2, 0.0)
    jacobian = np.where(np.isfinite(jacobian), jacobian, 0.0)
    return np.asarray((jacobian * weight[:, None]).T @ jacobian) + np.diag(objective.soft_precision * scale * scale)


def asymptote_range(objective: Objective, index: int, points: Points) -> tuple[float, float] | None:
    """What an asymptote could be a priori, given the measurements; None for other parameters."""
    parameter = objective.law.parameters[index]
    y = points.y[points.weights > 0]
    if parameter.role in (Role.IRREDUCIBLE, Role.FLOOR):
        return max(parameter.lower, 0.0), min(float(np.min(y)), parameter.upper)
    if parameter.role is Role.CEILING:
        return max(float(np.max(y)), parameter.lower), parameter.upper if np.isfinite(parameter.upper) else 2 * float(np.max(y))
    return None


def _asymptote(objective: Objective, u: FloatArray, position: int, found: Covariances, points: Points) -> str | None:
    index = int(objective.free[position])
    parameter = objective.law.parameters[index]
    possible = asymptote_range(objective, index, points)
    if possible is None or possible[1] <= possible[0]:
        return None
    width = possible[1] - possible[0]
    error = float(np.sqrt(max(found.sandwich[index, index], found.model[index, index], 0.0)))
    value = float(objective.theta(u[None])[0, index])
    inside = possible[0] + 0.02 * width < value < possible[1] - 0.02 * width
    if inside and 2 * 1.96 * error < 0.1 * width:
        return None
    share, low, high = _accepted_share(objective, u, position, possible)
    y = points.y[points.weights > 0]
    if share <= _SHARE or share * width <= _SPAN * float(np.ptp(y)):
        return None
    what = {Role.IRREDUCIBLE: "irreducible term", Role.FLOOR: "floor", Role.CEILING: "ceiling"}[parameter.role]
    return (
        f"{parameter.name} ({what}) is not determined over so short a range: "
        f"values from {low:.4g} to {high:.4g} fit equally well (95 %)"
    )


def _accepted_share(
    objective: Objective, u: FloatArray, position: int, possible: tuple[float, float]
) -> tuple[float, float, float]:
    """Share of the possible range that a profile accepts at 95 %, and the accepted ends."""
    from forecast.laws.profile import statistic_scale
    from forecast.laws.solver import solver_bounds

    index = int(objective.free[position])
    grid = possible[0] + (np.arange(_PROFILE_CELLS) + 0.5) / _PROFILE_CELLS * (possible[1] - possible[0])
    best = float(objective.value(u[None])[0])
    threshold = _CHI2_95 / statistic_scale(objective, u)
    rest = np.delete(np.arange(len(objective.free)), position)
    accepted = []
    lower, upper = solver_bounds(objective)
    if len(rest) == 0:
        return 0.0, float("nan"), float("nan")
    for value in grid:
        template = objective.template.copy()
        template[index] = value
        held = replace(
            objective,
            template=template,
            free=objective.free[rest],
            is_log=objective.is_log[rest],
            soft_mean=objective.soft_mean[rest],
            soft_precision=objective.soft_precision[rest],
        )
        low = float(
            np.min(
                minimise(
                    held.value, held.derivatives, u[rest][None], lower=lower[rest], upper=upper[rest], tolerance=1e-6
                ).value
            )
        )
        accepted.append(2.0 * (low - best) <= threshold)
    inside = grid[np.array(accepted)]
    if len(inside) == 0:
        return 0.0, float("nan"), float("nan")
    return float(np.mean(accepted)), float(inside[0]), float(inside[-1])
