"""Several methods as one: a weighted mean whose weights start from a prior and follow the back-tests as these gather."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from forecast.core.observations import FloatArray
from forecast.forecasting.method import Fitted
from forecast.forecasting.registry import all_methods, get_method
from forecast.forecasting.sample import Points, Sample

PRIOR_WEIGHTS: Mapping[str, float] = {
    "direct": 2.0,
    "direct-nd": 2.0,
    "two-step": 1.0,
    "two-step-choice": 1.0,
    "two-step-loss": 1.0,
    "item-level": 0.5,
    "random-walk": 1.0,
}
"""Members of `auto`. Direct laws weigh twice: they beat two steps in published comparisons (METHODS, direct accuracy law).
The joint fit is left out: it says what the two steps say, at twice the cost."""
STILLNESS = 4.0
"""Exponent on the ratio (best law's residual / a constant's residual): a law that explains half of the runs' variance leaves
the random walk .5^4 = .06 of its prior weight."""
EARNED = frozenset({"random-walk", "two-step-choice", "item-level"})
"""Members that start without weight (the random walk: with little) and earn it in back-tests. A benchmark that stops moving
is unlikely but happens; choice-normalised NLL and single items are informative only where models are well above chance."""
PRIOR_ERRORS = 2.0
"""Strength of the prior belief that all members are equally good, in back-test errors."""


@dataclass(frozen=True, kw_only=True)
class MemberErrors:
    """Mean squared error of each member at one back-test origin, in accuracy squared."""

    square: Mapping[str, float]
    worth: float
    """Weight of the origin, in observations."""


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """Fitted members with weights that sum to 1; a single method is an ensemble of one."""

    members: Mapping[str, Fitted]
    weights: Mapping[str, float]

    def by_member(self, points: Points) -> dict[str, FloatArray]:
        """Member -> (B, K) accuracies within [0, 1]; NaN where a member needs a number that the point lacks."""
        return {name: np.clip(fitted.accuracy(points), 0.0, 1.0) for name, fitted in self.members.items()}

    def combine(self, predictions: Mapping[str, FloatArray]) -> FloatArray:
        """(B, K) weighted mean over the members that have a number."""
        shape = np.broadcast_shapes(*(values.shape for values in predictions.values()))
        total, mass = np.zeros(shape), np.zeros(shape)
        for name, values in predictions.items():
            known = np.isfinite(values)
            total = total + np.where(known, values, 0.0) * self.weights[name]
            mass = mass + known * self.weights[name]
        with np.errstate(invalid="ignore", divide="ignore"):
            result: FloatArray = total / mass
        return result

    def accuracy(self, points: Points) -> FloatArray:
        """(B, K)."""
        return self.combine(self.by_member(points))

    def disagreement(self, predictions: Mapping[str, FloatArray]) -> FloatArray:
        """(K,) weighted standard deviation of the members' point forecasts about their mean."""
        center = self.combine(predictions)[0]
        squares = {name: np.square(values[:1] - center) for name, values in predictions.items()}
        result: FloatArray = np.sqrt(self.combine(squares)[0])
        return result


def member_names(sample: Sample, method: str) -> tuple[str, ...]:
    """Return the methods behind `method` that this sample suffices for: itself, or for `auto` its members."""
    if method != "auto":
        get_method(method)
        return (method,)
    known = all_methods()
    return tuple(name for name in PRIOR_WEIGHTS if name in known and known[name].missing(sample) is None)


def fit_members(sample: Sample, names: Sequence[str]) -> dict[str, Fitted]:
    """Fit each named method to every replicate."""
    return {name: get_method(name).fit(sample) for name in names}


def unsolved_fits(at_runs: Mapping[str, FloatArray]) -> dict[str, float]:
    """Share of each member's replicates whose fit did not converge: they have no number even at the runs themselves.

    Args:
        at_runs: member -> (B, M) accuracies at the rows of the sample that was fitted.
    """
    return {name: float(np.mean(np.isnan(values).all(axis=1))) for name, values in at_runs.items()}


def stillness(sample: Sample, members: Mapping[str, Fitted]) -> float:
    """How well a constant accuracy fits the runs: (best law's residual / the constant's residual)^4, at most 1.

    Residuals are mean squares with the sampling variance added, so that noise does not pass for movement.
    """
    noise = sample.sampling_variance
    constant = sample.left_over(np.full(len(sample), np.average(sample.accuracy[0], weights=sample.weight[0])))
    laws = [fitted for name, fitted in members.items() if name not in EARNED]
    known = [value for law in laws if np.isfinite(value := sample.left_over(law.accuracy(sample.points)[0]))]
    return min(1.0, (min(known) + noise) / (constant + noise)) ** STILLNESS if known else 0.0


def member_weights(names: Sequence[str], origins: Sequence[MemberErrors], *, still: float = 0.0) -> dict[str, float]:
    """Posterior probabilities of the members by the marginal likelihood of their back-test errors, summing to 1.

    Errors of a member are normal with a variance of its own, inverse-gamma about vbar with nu = 2 degrees of freedom, so
    w_i ~ prior_i (nu vbar + sum_j n_j e_ij^2)^(-(nu + n) / 2), n_j the worth of origin j, n their sum, vbar the mean over
    members.
    With few origins the weights stay near the prior; with many a member that forecasts better takes over. A member that some
    origins lack is compared by its mean. The prior weight of a member of EARNED is multiplied by n / (nu + n), or for
    the random walk by how still the runs are, if that is more (`stillness`).

    >>> member_weights(["direct", "two-step"], [])
    {'direct': 0.6666666666666666, 'two-step': 0.3333333333333333}
    """
    total = dict.fromkeys(names, 0.0)
    seen = dict.fromkeys(names, 0.0)
    for origin in origins:
        for name in names:
            square = origin.square.get(name, np.nan)
            if np.isfinite(square):
                total[name] += origin.worth * square
                seen[name] += origin.worth
    means = [total[name] / seen[name] for name in names if seen[name] > 0]
    # 1e-8 is an error of a hundredth of a point: without it, members that are all exact would give 0 / 0.
    center = float(np.mean(means)) + 1e-8 if means else 1.0
    raw = {}
    for name in names:
        variance = (PRIOR_ERRORS * center + total[name]) / (PRIOR_ERRORS + seen[name])
        prior = PRIOR_WEIGHTS.get(name, 1.0)
        # A method asked for by name has no other to earn its weight against.
        if name in EARNED and len(names) > 1:
            earned = seen[name] / (PRIOR_ERRORS + seen[name])
            prior *= max(earned, still) if name == "random-walk" else earned
        # A ratio to the mean, so that members scored at different numbers of origins stay comparable.
        raw[name] = prior * (center / variance) ** ((PRIOR_ERRORS + seen[name]) / 2.0)
    mass = sum(raw.values())
    return {name: weight / mass for name, weight in raw.items()}
