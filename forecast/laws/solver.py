"""The one way to fit a law: screen a grid, eliminate what is linear, polish every promising start, take the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forecast.core.errors import UsageError
from forecast.laws.covariance import covariances
from forecast.laws.identification import find_unidentified
from forecast.laws.law import Constraints, FloatArray, Law, SoftValue, Space
from forecast.laws.losses import BetaBinomial, LeastSquares, Loss
from forecast.laws.newton import Minima, Stop
from forecast.laws.objective import Objective
from forecast.laws.overdispersion import estimate_rho
from forecast.laws.points import Points, check_points
from forecast.laws.result import FitResult, FitStatus
from forecast.laws.search import build_objective, search

STARTS = 48
"""Starting points that are polished."""


@np.errstate(all="ignore")  # The search visits values at which a law overflows: they lose, and nothing need be said.
def fit(
    law: Law,
    x: ArrayLike | Mapping[str, ArrayLike],
    y: ArrayLike,
    *,
    loss: Loss | None = None,
    space: Space | None = None,
    sigma: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    fixed: Mapping[str, float] | None = None,
    soft: Mapping[str, SoftValue] | None = None,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    seed: int = 0,
    starts: int = STARTS,
    extra_starts: Sequence[FloatArray] = (),
) -> FitResult:
    """Fit a law: argmin_theta sum_i w_i rho(z_i / sigma_i), z the residual in the law's (or the given) space.

    Args:
        law: what to fit.
        x: (rows, inputs), or input name -> column, in the units that the law's inputs name.
        y: (rows,), in the unit of the law's output.
        loss: least squares unless given.
        space: where residuals are taken; the law's own unless given (or given by the loss).
        sigma: (rows,) standard errors of y, in the unit of the residual (relative errors in log space).
        weights: (rows,) multiply each row's loss.
        fixed: parameter -> value that it is held at.
        soft: parameter -> normal penalty. For losses that are not likelihoods the penalty is scaled by the noise variance
            of the fit without it, so that `sd` keeps its meaning.
        bounds: parameter -> (lower, upper) that it is kept within.
        seed: of the jittered starts; the optimum does not depend on it.
        starts: how many starts to polish.
        extra_starts: parameter vectors to begin from besides.

    Returns:
        The best optimum found, with its status; read `status` and `reasons` before trusting numbers.

    Raises:
        FitError: measurements or options outside the domain of the law or the loss.

    >>> from forecast.laws import get_law
    >>> c = np.array([1e18, 1e19, 1e20, 1e21])
    >>> result = fit(get_law("power-law"), c, 50.0 * c**-0.07)
    >>> round(result.params["alpha"], 6), result.status.value
    (0.07, 'ok')
    """
    loss = loss or LeastSquares()
    used_space = getattr(loss, "space", None) or space or law.space
    points = check_points(law, x, y, loss=loss, space=used_space, sigma=sigma, weights=weights)
    constraints = Constraints(fixed=dict(fixed or {}), soft=dict(soft or {}), bounds=dict(bounds or {}))
    check_constraints(law, constraints)
    if isinstance(loss, BetaBinomial) and loss.rho is None:
        loss = replace(loss, rho=estimate_rho(law, points, loss, constraints, seed=seed))
        extra = {"rho": float(loss.rho or 0.0)}
    else:
        extra = {}
    soft_scale = _soft_scale(law, points, loss, used_space, constraints, seed=seed, starts=max(8, starts // 4))
    objective = build_objective(law, points, loss, used_space, constraints, soft_scale)
    u, minima, agreed = search(objective, seed=seed, starts=starts, extra=extra_starts)
    return _conclude(objective, u, minima, agreed, points=points, constraints=constraints, extra=extra)


def _soft_scale(
    law: Law, points: Points, loss: Loss, space: Space, constraints: Constraints, *, seed: int, starts: int
) -> float:
    """Noise variance of the fit without penalties, which gives their `sd` its meaning; 1 for a likelihood."""
    if not constraints.soft or loss.is_likelihood:
        return 1.0
    plain = build_objective(law, points, loss, space, replace(constraints, soft={}), 1.0)
    unpulled, _, _ = search(plain, seed=seed, starts=starts)
    return float(max(covariances(plain, unpulled).noise_variance, 1e-300))


def _conclude(
    objective: Objective,
    u: FloatArray,
    minima: Minima,
    agreed: NDArray[np.bool_],
    *,
    points: Points,
    constraints: Constraints,
    extra: Mapping[str, float],
) -> FitResult:
    law = objective.law
    best = int(np.argmin(minima.value))
    stop = Stop(int(minima.stop[best]))
    found = covariances(objective, u)
    # A robust loss has kinks at which no step lowers the objective; that is an optimum if the model promised next to nothing.
    settled = stop is Stop.CONVERGED or (stop is Stop.STALLED and bool(minima.decrement[best] < 1e-8))
    unidentified, reasons = find_unidentified(objective, u, found, points)
    if not settled:
        status, message = FitStatus.NOT_CONVERGED, f"stopped after {minima.iterations[best]} steps ({stop.name.lower()})"
    elif reasons:
        status, message = FitStatus.NOT_IDENTIFIED, "; ".join(reasons)
    else:
        status, message = FitStatus.OK, f"{int(agreed.sum())} of {len(agreed)} starts agree"
    return FitResult(
        law=law,
        loss=objective.loss,
        space=objective.space,
        points=points,
        theta=objective.theta(u[None])[0],
        covariance=found.sandwich,
        covariance_model=found.model,
        noise_sd=float("nan") if objective.loss.is_likelihood else float(np.sqrt(found.noise_variance)),
        status=status,
        message=message,
        objective=float(minima.value[best]),
        iterations=int(minima.iterations[best]),
        starts=len(agreed),
        starts_agreed=int(agreed.sum()),
        unidentified=unidentified,
        reasons=reasons,
        constraints=constraints,
        free=tuple(law.names[index] for index in objective.free),
        extra=extra,
        problem=objective,
    )


def check_constraints(law: Law, constraints: Constraints) -> None:
    """Check what is asked of a law's parameters.

    Raises:
        UsageError: an unknown parameter, a value outside its domain, or one both fixed and soft; nothing left to fit.
    """
    for name in [*constraints.fixed, *constraints.soft, *constraints.bounds]:
        if name not in law.names:
            raise UsageError(f"'{law.name}' has no parameter '{name}'", expected=", ".join(law.names))
    for name, value in constraints.fixed.items():
        parameter = law.parameters[law.names.index(name)]
        if not (np.isfinite(value) and parameter.lower <= value <= parameter.upper and (value > 0 or not parameter.log)):
            raise UsageError(f"{name} cannot be held at {value}", expected=f"a value in [{parameter.lower}, {parameter.upper}]")
        if name in constraints.soft:
            raise UsageError(f"{name} is both fixed and soft", expected="one of the two")
    for name, (low, high) in constraints.bounds.items():
        if not low < high:
            raise UsageError(f"{name} is bounded by [{low}, {high}]", expected="a lower bound below the upper")
    for name, soft in constraints.soft.items():
        if not (np.isfinite(soft.mean) and np.isfinite(soft.sd) and soft.sd > 0):
            raise UsageError(f"{name} has the soft value {soft.mean} +- {soft.sd}", expected="finite numbers, sd above 0")
    if len(constraints.fixed) == len(law.names):
        raise UsageError("every parameter is fixed", expected="at least one free parameter")
