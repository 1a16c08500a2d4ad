"""Which run to train next: the one that reduces the variance of the target's forecast most, per FLOP.

With a fitted law, parameter covariance S, target gradient g and noise variance s^2, one more run with gradient h takes
(g^T S h)^2 / (s^2 + h^T S h) off the variance g^T S g of the target's mean (Sherman & Morrison 1950); gradients are those of
the residual space (c-optimal design, Silvey 1980, ch. 3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from forecast.core.errors import FitError
from forecast.laws.law import FloatArray, Space
from forecast.laws.losses import LeastSquares
from forecast.laws.optimal import Frontier, TrainingRuns, flops_per_param_token
from forecast.laws.registry import get_law
from forecast.laws.result import FitResult
from forecast.laws.solver import fit

_CANDIDATES_PER_AXIS = 12
_TOKENS_PER_PARAM = (2.0, 200.0)
"""Candidates reach from a tenth to ten times what Hoffmann found optimal."""


@dataclass(frozen=True, kw_only=True)
class NextRun:
    """The run to train next, among those affordable."""

    params: float
    tokens: float
    flops: float
    target_sd_now: float
    """Relative standard deviation of the target's predicted mean loss."""
    target_sd_after: float
    reduction_per_flop: float
    alternatives: Mapping[str, float]
    """Policy -> the target's standard deviation after its run instead."""
    alternatives_flops: Mapping[str, float]


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


def choose_next_run(runs: TrainingRuns, frontier: Frontier, target_flops: float, budget: float, *, seed: int) -> NextRun:
    """Return the affordable (N, D) that takes most variance off the target's forecast per FLOP, and what others would do.

    Raises:
        FitError: nothing is affordable, or the fitted loss is not determined enough to weigh runs.
    """
    k = flops_per_param_token(runs)
    result = fit(
        get_law("chinchilla"), np.stack([runs.params, runs.tokens], axis=-1), runs.loss, loss=LeastSquares(), seed=seed
    )
    low = float(np.min(runs.flops))
    if budget < low:
        raise FitError(
            f"{budget:.3g} FLOPs remain in the budget after the runs already made, less than their cheapest ({low:.3g})",
            remedy="raise `fraction=`, or say with `next_budget=` what the next run may cost",
        )
    candidates = candidate_runs(low, budget, k)
    target = np.array([frontier.params(target_flops), target_flops / (k * frontier.params(target_flops))])
    design = assess_candidates(result, target, candidates)
    cost = k * candidates[:, 0] * candidates[:, 1]
    best = design.best(cost)
    optimal = np.argsort(np.abs(np.log(candidates[:, 1] / candidates[:, 0]) - np.log(target[1] / target[0])), kind="stable")
    on_line = optimal[: _CANDIDATES_PER_AXIS * 2]
    others = {
        "cheapest": int(on_line[np.argmin(cost[on_line])]),
        "largest": int(on_line[np.argmax(cost[on_line])]),
        "random": int(np.random.default_rng(seed).choice(len(candidates))),
    }
    return NextRun(
        params=float(candidates[best, 0]),
        tokens=float(candidates[best, 1]),
        flops=float(cost[best]),
        target_sd_now=design.target_sd,
        target_sd_after=float(design.sd_after[best]),
        reduction_per_flop=float(design.reduction[best] / cost[best]),
        alternatives={name: float(design.sd_after[index]) for name, index in others.items()},
        alternatives_flops={name: float(cost[index]) for name, index in others.items()},
    )


def candidate_runs(low: float, budget: float, k: float) -> FloatArray:
    """(N, D) on a grid: budgets from the cheapest run to the affordable, each at 2 to 200 tokens per parameter."""
    budgets = np.geomspace(low, budget, _CANDIDATES_PER_AXIS)
    ratios = np.geomspace(*_TOKENS_PER_PARAM, _CANDIDATES_PER_AXIS)
    c, r = (grid.ravel() for grid in np.meshgrid(budgets, ratios))
    n = np.sqrt(c / (k * r))
    return np.stack([n, r * n], axis=-1)
