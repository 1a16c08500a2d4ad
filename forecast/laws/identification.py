"""Whether measurements determine a law's parameters; what they do not determine is named.

Checks, in order: fewer distinct scales than parameters; no more rows than parameters; a constant input; directions in which
the fit is flat; and, for asymptotes (irreducible loss, floor, ceiling), a profile over everything the asymptote could be: when
more than half of that range fits, the measurements say nothing useful about it.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from forecast.laws.covariance import Covariances, Rows, row_terms, statistic_scale
from forecast.laws.law import FloatArray, Role, Space
from forecast.laws.objective import Objective
from forecast.laws.points import Points
from forecast.laws.profile_search import Profile

_FLAT = 1e-11
"""Smallest eigenvalue of the unit-diagonal information that is told from rounding."""
_NO_EFFECT = 1e-9
_SHARE = 0.5
"""An asymptote is unidentified when more than this share of its possible range fits ..."""
_SPAN = 0.25
"""... and what fits is wider than this share of the measured span of y: ignorance narrower than that is harmless."""
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
    if len(used) <= len(hard):
        reason = (
            f"{len(used)} rows for {len(hard)} free parameters: the fit is exact, and nothing is left to estimate errors from"
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
    rows = row_terms(objective, u)
    matrix = _plain_information(objective, rows)
    # Where a derivative overflows nothing can be said of its parameter.
    matrix = np.where(np.isfinite(matrix), matrix, 0.0)
    diagonal = np.diagonal(matrix)
    # An e-fold of a scale that moves nothing by a billionth is an amplitude that went to zero, or what multiplies it.
    effect = np.max(np.abs(rows.gradient), axis=0, initial=0.0) / max(_size(objective), 1e-300)
    dead = ~(diagonal > 1e-300) | (objective.is_log & (effect < _NO_EFFECT))
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


def _size(objective: Objective) -> float:
    """Largest measurement, in the unit of the residual."""
    if objective.loss.is_likelihood or (getattr(objective.loss, "space", None) or objective.space) is Space.LOG:
        return 1.0
    return float(np.max(np.abs(objective.y) / objective.sigma))


def _plain_information(objective: Objective, rows: Rows) -> FloatArray:
    """Information as if residuals were squared: what the rows could say, whatever the loss makes of it."""
    curvature = rows.curvature if objective.loss.is_likelihood else np.ones_like(rows.psi)
    matrix = (rows.gradient * (objective.weights * curvature)[:, None]).T @ rows.gradient
    return np.asarray(matrix + np.diag(objective.soft_precision * rows.scale**2))


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
    t = stats.norm.ppf(0.975) if objective.loss.is_likelihood else stats.t.ppf(0.975, found.dof)
    share, low, high = _accepted_share(objective, u, position, possible, float(t * t))
    y = points.y[points.weights > 0]
    if share <= _SHARE or share * width <= _SPAN * float(np.ptp(y)):
        return None
    what = {Role.IRREDUCIBLE: "irreducible term", Role.FLOOR: "floor", Role.CEILING: "ceiling"}[parameter.role]
    return (
        f"{parameter.name} ({what}) is not determined over so short a range: "
        f"values from {low:.4g} to {high:.4g} fit equally well (95 %)"
    )


def _accepted_share(
    objective: Objective, u: FloatArray, position: int, possible: tuple[float, float], threshold: float
) -> tuple[float, float, float]:
    """Share of the possible range that a profile accepts at 95 %, and the accepted ends."""
    index = int(objective.free[position])
    grid = possible[0] + (np.arange(_PROFILE_CELLS) + 0.5) / _PROFILE_CELLS * (possible[1] - possible[0])
    scale = statistic_scale(objective, u)
    profile = Profile(objective, u, position)
    accepted = []
    for value in grid:
        coordinate = float(np.log(value)) if objective.law.parameters[index].log else float(value)
        accepted.append(2.0 * scale * (profile.value(coordinate) - profile.best) <= threshold)
    inside = grid[np.array(accepted)]
    if len(inside) == 0:
        return 0.0, float("nan"), float("nan")
    return float(np.mean(accepted)), float(inside[0]), float(inside[-1])
