"""Several methods as one: a weighted mean whose weights start from a prior and follow back-tests only as far as those go."""

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
}
"""Members of `auto`. Direct laws weigh twice: they beat two steps in published comparisons (METHODS, direct accuracy law).
The joint fit is left out: it says what the two steps say, at twice the cost."""
PRIOR_ERRORS = 8.0
"""How many back-test errors the prior belief that all members are equally good counts for."""


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
    """Return the methods behind `method` that this sample can carry: itself, or for `auto` its members."""
    if method != "auto":
        get_method(method)
        return (method,)
    known = all_methods()
    return tuple(name for name in PRIOR_WEIGHTS if name in known and known[name].missing(sample) is None)


def fit_members(sample: Sample, names: Sequence[str]) -> dict[str, Fitted]:
    """Fit each named method to every replicate."""
    return {name: get_method(name).fit(sample) for name in names}


def member_weights(names: Sequence[str], errors: Mapping[str, FloatArray]) -> dict[str, float]:
    """Weights proportional to prior / shrunken mean squared back-test error, summing to 1.

    v_i = (nu vbar + sum_j e_ij^2) / (nu + n), vbar the mean over members: with few back-tests the weights stay at the prior.

    >>> member_weights(["direct", "two-step"], {})
    {'direct': 0.6666666666666666, 'two-step': 0.3333333333333333}
    """
    squares = {name: np.square(errors[name][np.isfinite(errors[name])]) for name in names if name in errors}
    pooled = [float(s.mean()) for s in squares.values() if s.size]
    center = float(np.mean(pooled)) + 1e-8 if pooled else 1.0
    raw = {}
    for name in names:
        own = squares.get(name, np.empty(0))
        variance = (PRIOR_ERRORS * center + float(own.sum())) / (PRIOR_ERRORS + own.size)
        raw[name] = PRIOR_WEIGHTS.get(name, 1.0) / variance
    total = sum(raw.values())
    return {name: weight / total for name, weight in raw.items()}
