"""The beta-binomial's intra-class correlation, by maximum likelihood over a one-dimensional profile."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import optimize

from forecast.laws.law import Constraints, Law, Space
from forecast.laws.losses import BetaBinomial
from forecast.laws.points import Points
from forecast.laws.search import build_objective, polish, search

_LOGIT_RANGE = (-16.0, 4.0)
"""rho from 1e-7 (binomial) to 0.98."""


def estimate_rho(law: Law, points: Points, loss: BetaBinomial, constraints: Constraints, *, seed: int) -> float:
    """Return the rho in (1e-7, 0.98) with the highest likelihood, the law's parameters being refitted at every rho."""
    first = replace(loss, rho=0.01)
    base = build_objective(law, points, first, Space.LINEAR, constraints, 1.0)
    u, _, _ = search(base, seed=seed, starts=24)
    near = u[None]

    def profile(logit: float) -> float:
        objective = replace(base, loss=replace(loss, rho=float(1.0 / (1.0 + np.exp(-logit)))))
        return float(polish(objective, near).value[0])

    grid = np.linspace(*_LOGIT_RANGE, 21)
    values = [profile(float(logit)) for logit in grid]
    best = int(np.argmin(values))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found = optimize.minimize_scalar(profile, bounds=(float(low), float(high)), method="bounded", options={"xatol": 1e-4})
    return float(1.0 / (1.0 + np.exp(-float(found.x))))
