"""Which run to train next: the one that reduces the variance of the target's forecast most, per FLOP.

With a fitted law, parameter covariance S, target gradient g and noise variance s^2, one more run with gradient h takes
(g^T S h)^2 / (s^2 + h^T S h) off the variance g^T S g of the target's mean (Sherman & Morrison 1950); gradients are those of
the residual space (c-optimal design, Silvey 1980, ch. 3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecast.core.errors import FitError
from forecast.laws.law import FloatArray, Space
from forecast.laws.result import FitResult


@dataclass(frozen=True, kw_only=True, eq=False)
class Design:
    """What each candidate run would do."""

    target_sd: float
    """Standard deviation of the target's forecast mean now, in the residual space (relative in log space)."""
    reduction: FloatArray
    """(candidates,): variance taken off."""
    sd_after: FloatArray
    """(candidates,)"""

    def best(self, cost: FloatArray) -> int:
        """Return the candidate with the largest reduction per cost."""
        return int(np.argmax(self.reduction / cost))


def assess_candidates(result: FitResult, target: FloatArray, candidates: FloatArray) -> Design:
    """Assess candidate runs for a target.

    Args:
        result: a least-squares or robust fit (its noise variance is used).
        target: (inputs,) of the law.
        candidates: (candidates, inputs).

    Raises:
        FitError: the fit has no usable covariance: parameters that cannot be told apart, or no noise to compare with.
    """
    noise = result.noise_sd**2
    if not (np.isfinite(noise) and noise > 0):
        raise FitError("the fit has no residual noise to weigh runs by", expected="more runs than parameters")
    covariance = result.covariance_model
    if not np.all(np.isfinite(covariance)):
        raise FitError("the fit has no usable covariance", remedy="train more distinct scales first")
    points = np.concatenate([np.atleast_2d(target), np.atleast_2d(candidates)])
    gradient = result.law.jacobian(points, result.theta)
    if result.space is Space.LOG:
        gradient = gradient / result.law.predict(points, result.theta)[:, None]
    g, h = gradient[0], gradient[1:]
    now = float(g @ covariance @ g)
    shared = h @ covariance @ g
    own = np.einsum("ni,ij,nj->n", h, covariance, h)
    reduction = shared**2 / (noise + own)
    return Design(
        target_sd=float(np.sqrt(max(now, 0.0))), reduction=reduction, sd_after=np.sqrt(np.maximum(now - reduction, 0.0))
    )


def choose_next(policy: str, *, cost: FloatArray, budget: float, design: Design | None, rng: np.random.Generator) -> int | None:
    """Pick an affordable candidate: `design`, `cheapest`, `largest` or `random`; None when none is affordable.

    >>> choose_next("largest", cost=np.array([1.0, 3.0, 9.0]), budget=5.0, design=None, rng=np.random.default_rng(0))
    1
    """
    affordable = np.flatnonzero(cost <= budget)
    if len(affordable) == 0:
        return None
    if policy == "cheapest":
        return int(affordable[np.argmin(cost[affordable])])
    if policy == "largest":
        return int(affordable[np.argmax(cost[affordable])])
    if policy == "random":
        return int(rng.choice(affordable))
    if policy != "design" or design is None:
        raise ValueError(f"policy {policy!r} needs a design")
    return int(affordable[np.argmax((design.reduction / cost)[affordable])])


POLICIES = ("design", "cheapest", "largest", "random")
