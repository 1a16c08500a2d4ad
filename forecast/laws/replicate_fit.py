"""A law fitted to every bootstrap replicate of some measurements at once, with priors; the point fit is in `solver`.

The residual scatter between runs is unknown: it is estimated in turn with the parameters, shrunk towards a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from forecast.core.errors import FitError
from forecast.laws.law import FloatArray, Law, Space
from forecast.laws.priors import Prior
from forecast.laws.replicate_solver import TOLERANCE, BoolArray, solve_replicates

ROUNDS = 3
"""Alternations of law and residual scatter; the scatter has settled by then."""
_ROUGH = 1e-6
"""Tolerance of all rounds but the last: the scatter is the cost itself, so its relative error is no larger."""
PRIOR_DEGREES = 3.0
"""How many observations the guess of a residual scatter counts for."""
LEAST_VALUE = 1e-9
"""Measurements below this are taken as this where logarithms are fitted."""


@dataclass(frozen=True, kw_only=True)
class Coordinates:
    """A law in the coordinates of its priors."""

    law: Law
    priors: tuple[Prior, ...]
    """One prior for each parameter, in the law's order."""

    @property
    def mean(self) -> FloatArray:
        """(P,) prior means."""
        return np.array([prior.mean for prior in self.priors])

    @property
    def sd(self) -> FloatArray:
        """(P,) prior standard deviations."""
        return np.array([prior.sd for prior in self.priors])

    def theta(self, u: FloatArray) -> FloatArray:
        """Parameters (B, P) of coordinates (B, P)."""
        return np.stack([prior.transform.value(u[:, p]) for p, prior in enumerate(self.priors)], axis=-1)

    def value(self, x: FloatArray, u: FloatArray) -> FloatArray:
        """The law at x, (B, rows)."""
        return self.law.predict(x, self.theta(u))

    def jacobian(self, x: FloatArray, u: FloatArray) -> FloatArray:
        """Derivatives of the law at x in the coordinates, (B, rows, P)."""
        slopes = np.stack([prior.transform.slope(u[:, p]) for p, prior in enumerate(self.priors)], axis=-1)
        return np.asarray(self.law.jacobian(x, self.theta(u)) * slopes[:, None, :])


@dataclass(frozen=True, kw_only=True)
class ReplicateFit:
    """A law fitted to B replicates."""

    coordinates: Coordinates
    u: FloatArray
    """(B, P)."""
    converged: BoolArray
    """(B,): a replicate that did not converge is not a fit and must be left out."""

    @property
    def theta(self) -> FloatArray:
        """(B, P) parameters, in the order of the law's names."""
        return self.coordinates.theta(self.u)

    def predict(self, x: FloatArray) -> FloatArray:
        """The law (B, rows) at x, (rows, inputs) or (B, rows, inputs); NaN in replicates that did not converge."""
        with np.errstate(all="ignore"):
            values = self.coordinates.value(x, self.u)
        return np.where(self.converged[:, None], values, np.nan)


def in_coordinates(law: Law, priors: Mapping[str, Prior]) -> Coordinates:
    """Pair a law with one prior for each of its parameters.

    Raises:
        FitError: a parameter has no prior, or a prior no parameter.
    """
    missing = [name for name in law.names if name not in priors]
    unknown = [name for name in priors if name not in law.names]
    if missing or unknown:
        raise FitError(
            f"priors for '{law.name}' do not match its parameters: {', '.join(missing + unknown)}",
            expected="one prior for each of " + ", ".join(law.names),
        )
    return Coordinates(law=law, priors=tuple(priors[name] for name in law.names))


def fit_replicates(
    law: Law,
    x: FloatArray,
    y: FloatArray,
    *,
    priors: Mapping[str, Prior],
    weight: FloatArray,
    scatter: float,
    sampling_sd: FloatArray | None = None,
    space: Space | None = None,
) -> ReplicateFit:
    """Fit a law to every replicate: argmin_u 1/2 sum_m w_bm z_bm^2 / (s_b^2 + sigma_m^2) - log prior(u).

    z is the residual in the law's (or the given) space and s_b the replicate's scatter between runs, estimated in turn.

    Args:
        law: what to fit.
        x: (M, inputs), or (B, M, inputs) where replicates differ.
        y: (B, M).
        priors: parameter -> prior.
        weight: (B, M).
        scatter: standard deviation of residuals between runs that the estimate starts from and is shrunk towards.
        sampling_sd: (M,) known sampling errors of y, in the unit of the residual.
        space: where residuals are taken.

    Raises:
        FitError: the priors do not match the law's parameters.
    """
    coordinates = in_coordinates(law, priors)
    in_logs = (space or law.space) is Space.LOG
    target = np.log(np.maximum(y, LEAST_VALUE)) if in_logs else y
    known = np.zeros(y.shape[1]) if sampling_sd is None else sampling_sd
    root = np.sqrt(weight)
    u = np.tile(coordinates.mean, (len(y), 1))
    noise = np.full(len(y), scatter)
    converged = np.ones(len(y), dtype=np.bool_)
    for round_ in range(ROUNDS):
        scale = root / np.hypot(noise[:, None], known[None, :])

        def residuals(u: FloatArray, scale: FloatArray = scale) -> FloatArray:
            values = coordinates.value(x, u)
            return np.asarray(((np.log(values) if in_logs else values) - target) * scale)

        def jacobian(u: FloatArray, scale: FloatArray = scale) -> FloatArray:
            slopes = coordinates.jacobian(x, u)
            if in_logs:
                slopes = slopes / coordinates.value(x, u)[:, :, None]
            return np.asarray(slopes * scale[:, :, None])

        solution = solve_replicates(
            residuals,
            jacobian,
            u,
            prior_mean=coordinates.mean,
            prior_sd=coordinates.sd,
            tolerance=TOLERANCE if round_ == ROUNDS - 1 else _ROUGH,
        )
        u, converged = solution.u, solution.converged
        noise = residual_scatter(residuals(u) / np.where(scale > 0, scale, 1.0), weight, scatter)
    return ReplicateFit(coordinates=coordinates, u=u, converged=converged)


def residual_scatter(residual: FloatArray, weight: FloatArray, guess: float) -> FloatArray:
    """(B,) residual standard deviation, shrunk towards a guess: sqrt((nu s0^2 + sum w r^2) / (nu + sum w)), nu = 3."""
    total = (weight * np.square(residual)).sum(axis=1) + PRIOR_DEGREES * guess**2
    return np.asarray(np.sqrt(total / (weight.sum(axis=1) + PRIOR_DEGREES)))
