"""What a fit says: constants, how sure they are, whether they are identified, and how the search went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from forecast.laws.law import Constraints, FloatArray, Law, Space
from forecast.laws.losses import Loss
from forecast.laws.points import Points, as_columns

if TYPE_CHECKING:
    from forecast.laws.objective import Objective


class FitStatus(StrEnum):
    """How a fit ended."""

    OK = "ok"
    NOT_IDENTIFIED = "not-identified"
    """The optimum was found, but some parameter is not determined by these measurements; `reasons` name it."""
    NOT_CONVERGED = "not-converged"
    """The search ended before the optimum was certain; numbers are the best point found."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FitResult:
    """A fitted law. Immutable; `params` and `standard_errors` are NaN for parameters that are not identified."""

    law: Law
    loss: Loss
    space: Space
    points: Points
    theta: FloatArray
    """Best parameter vector found, identified or not: what `predict` uses."""
    covariance: FloatArray
    """(parameters, parameters) robust (sandwich) covariance of theta; zero for fixed parameters."""
    covariance_model: FloatArray
    """The same from the curvature alone, by the delta method: right when the loss is the noise's own likelihood."""
    noise_sd: float
    """Standard deviation of residuals (unit of the residual space), sqrt(SSR / (rows - free)); NaN for likelihood losses."""
    status: FitStatus
    message: str
    objective: float
    iterations: int
    """Iterations of the start that won."""
    starts: int
    starts_agreed: int
    """Starts whose objective came within 1e-7 (relative) of the best."""
    unidentified: tuple[str, ...]
    reasons: tuple[str, ...]
    """One sentence for each thing that is not identified."""
    constraints: Constraints
    free: tuple[str, ...]
    extra: Mapping[str, float] = field(default_factory=dict)
    """Constants of the loss that were estimated (beta-binomial: rho)."""
    problem: Objective = field(repr=False)
    """What was minimised, for profiles and bootstraps."""

    def __repr__(self) -> str:
        """Law, status and constants, in one line."""
        errors = self.standard_errors
        values = ", ".join(f"{name} = {value:.4g} ± {errors[name]:.2g}" for name, value in self.params.items())
        return f"<FitResult {self.law.name} ({self.status.value}): {values}>"

    @property
    def identified(self) -> bool:
        """Whether every free parameter is determined by the measurements."""
        return not self.unidentified and not self.reasons

    @property
    def at_bound(self) -> tuple[str, ...]:
        """Free parameters whose best value is an end of their domain: the measurements would go beyond it."""
        problem = self.problem
        lower, upper = problem.bounds()
        u = problem.coordinates(self.theta[None])[0]
        slack = 1e-9 * np.maximum(1.0, np.abs(u))
        return tuple(
            name
            for name, value, low, high, gap in zip(self.free, u, lower, upper, slack, strict=True)
            if value <= low + gap or value >= high - gap
        )

    @property
    def params(self) -> Mapping[str, float]:
        """Parameter values by name; NaN where not identified."""
        return {
            name: float("nan") if name in self.unidentified else float(value)
            for name, value in zip(self.law.names, self.theta, strict=True)
        }

    @property
    def standard_errors(self) -> Mapping[str, float]:
        """Sandwich standard errors by name; 0 for fixed parameters, NaN where not identified."""
        errors = np.sqrt(np.maximum(np.diagonal(self.covariance), 0.0))
        return {
            name: float("nan") if name in self.unidentified else float(value)
            for name, value in zip(self.law.names, errors, strict=True)
        }

    @property
    def residuals(self) -> FloatArray:
        """Measured minus predicted (rows,): differences of logarithms in log space."""
        predicted = self.law.predict(self.points.x, self.theta)
        if self.space is Space.LOG:
            with np.errstate(all="ignore"):
                return np.asarray(np.log(self.points.y) - np.log(predicted))
        return np.asarray(self.points.y - predicted)

    def predict(self, x: ArrayLike | Mapping[str, ArrayLike]) -> FloatArray:
        """Return the law's y at x (rows, inputs), or a mapping from input name to column."""
        with np.errstate(over="ignore", under="ignore"):
            return np.asarray(self.law.predict(as_columns(self.law, x), self.theta))

    def predict_se(self, x: ArrayLike | Mapping[str, ArrayLike]) -> FloatArray:
        """Standard error of the predicted mean at x, sqrt(g^T Cov g) with g = dy/dtheta (delta method); no new noise."""
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            gradient = self.law.jacobian(as_columns(self.law, x), self.theta)
            variance = np.einsum("ni,ij,nj->n", gradient, self.covariance, gradient)
        return np.asarray(np.sqrt(np.maximum(variance, 0.0)))
