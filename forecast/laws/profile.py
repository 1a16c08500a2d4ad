"""Profile-likelihood intervals: every value of a parameter that the measurements do not refuse.

The statistic is t^2 = 2 k (Q(theta with the parameter held) - Q(best)), k = mean(psi') / mean(psi^2): for least squares that
is the F statistic, for Huber and soft-L1 Ronchetti's robust ratio (Heritier & Ronchetti 1994), for a likelihood k = 1. It is
compared with Student's t of n - p degrees of freedom (the normal for likelihoods).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import optimize, stats

from forecast.core.errors import FitError
from forecast.laws.covariance import statistic_scale
from forecast.laws.profile_search import Profile
from forecast.laws.result import FitResult

_EXPANSIONS = 60


@np.errstate(all="ignore")  # Held far from its best, a law may overflow: such values are refused.
def profile_interval(result: FitResult, name: str, *, level: float = 0.95) -> tuple[float, float]:
    """Return (lo, hi) of a free parameter; an end is infinite (or the domain's end) where nothing is refused.

    Raises:
        FitError: the parameter was fixed, or the fit did not converge to a finite objective.
    """
    if name not in result.free:
        raise FitError(f"'{name}' is not a free parameter of this fit", expected=", ".join(result.free))
    problem = result.problem
    position = result.free.index(name)
    u = problem.coordinates(result.theta[None])[0]
    dof = max(int(np.sum(problem.weights > 0)) - len(u), 1)
    quantile = (1.0 + level) / 2.0
    t = float(stats.norm.ppf(quantile) if problem.loss.is_likelihood else stats.t.ppf(quantile, dof))
    k = statistic_scale(problem, u)
    profile = Profile(problem, u, position)
    lower, upper = problem.bounds()
    index = problem.free[position]
    error = float(np.sqrt(max(result.covariance_model[index, index], 0.0)))
    step = error / (result.theta[index] if problem.is_log[position] else 1.0)
    step = step if np.isfinite(step) and step > 0 else 1e-6 * max(1.0, abs(float(u[position])))
    ends = []
    for sign, limit in ((-1.0, float(lower[position])), (1.0, float(upper[position]))):
        profile.restart()
        ends.append(_crossing(profile, float(u[position]), sign * min(step, 5.0), limit, k, t))
    convert = np.exp if problem.is_log[position] else float
    low, high = (float(convert(min(end, 700.0))) for end in ends)
    parameter = result.law.parameters[index]
    low = low if ends[0] > lower[position] else parameter.lower
    high = high if ends[1] < upper[position] else parameter.upper
    return low, high


def normal_interval(result: FitResult, name: str, *, level: float = 0.95) -> tuple[float, float]:
    """Return value -+ z x sandwich error, around the logarithm for a scale; what profiles come to with very many rows.

    Raises:
        FitError: the parameter was fixed.
    """
    if name not in result.free:
        raise FitError(f"'{name}' is not a free parameter of this fit", expected=", ".join(result.free))
    value, error = result.params[name], result.standard_errors[name]
    z = float(stats.norm.ppf((1.0 + level) / 2.0))
    parameter = result.law.parameters[result.law.names.index(name)]
    if parameter.log:
        width = float(np.exp(min(z * error / value, 700.0)))
        return value / width, value * width
    return max(value - z * error, parameter.lower), min(value + z * error, parameter.upper)


def _crossing(profile: Profile, centre: float, step: float, limit: float, k: float, t: float) -> float:
    """Coordinate at which the statistic reaches t^2, going from the centre by growing steps; the limit if it never does."""

    def excess(coordinate: float) -> float:
        gain = profile.value(coordinate) - profile.best
        return float(np.sqrt(max(2.0 * k * gain, 0.0)) - t) if np.isfinite(gain) else 1e6

    inner, outer, at_inner = centre, centre + step, -t
    for _ in range(_EXPANSIONS):
        outer = min(outer, limit) if step > 0 else max(outer, limit)
        at_outer = excess(outer)
        if at_outer > 0:
            # The search came from the last point; from the optimum it may end lower.
            profile.restart()
            at_outer = min(at_outer, excess(outer))
        if at_outer > 0:
            return _root(excess, (inner, at_inner), (outer, at_outer))
        if outer == limit:
            return limit
        inner, outer, at_inner = outer, outer + 1.6 * (outer - centre), at_outer
    return limit


def _root(excess: Callable[[float], float], inner: tuple[float, float], outer: tuple[float, float]) -> float:
    """Zero between two (coordinate, value) of opposite sign.

    The ends are not asked again: what a search finds depends a little on where it came from.
    """
    ends = dict((inner, outer))
    tolerance = 1e-10 * max(1.0, abs(outer[0]))
    return float(
        optimize.brentq(
            lambda at: ends[at] if at in ends else excess(at), inner[0], outer[0], xtol=tolerance, rtol=1e-8, maxiter=80
        )
    )
