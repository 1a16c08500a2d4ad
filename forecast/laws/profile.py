"""Profile-likelihood intervals: every value of a parameter that the measurements do not refuse.

The statistic is 2 (Q(theta with the parameter held) - Q(best)) x k, with k = mean(rho'') / mean(rho'^2): for least squares
that is the F statistic, for Huber and soft-L1 Ronchetti's robust ratio (Heritier & Ronchetti 1994), for a likelihood k = 1.
"""

from __future__ import annotations

import numpy as np

from forecast.laws.law import FloatArray, Space
from forecast.laws.objective import Objective


def statistic_scale(objective: Objective, u: FloatArray) -> float:
    """Return k, as above, at the optimum u (free,), with n - p degrees of freedom."""
    if objective.loss.is_likelihood:
        return 1.0
    theta = objective.theta(u[None])[0]
    with np.errstate(all="ignore"):
        predicted = objective.law.predict(objective.x, theta)
        _, first, second = objective.loss.terms(predicted, objective.y, objective.sigma, objective.space)
        # Undo the chain rule: derivatives with respect to the standardised residual z.
        slope = 1.0 / objective.sigma if objective.space is Space.LINEAR else 1.0 / (predicted * objective.sigma)
        psi = first / slope
        bend = np.zeros_like(psi) if objective.space is Space.LINEAR else -psi
        curve = (np.broadcast_to(second, psi.shape) - bend * slope * slope) / (slope * slope)
    weights = objective.weights
    rows = int(np.sum(weights > 0))
    dof = max(rows - len(u), 1)
    spread = float(np.sum(weights * psi * psi)) / float(np.sum(weights)) * rows / dof
    return float(np.sum(weights * curve)) / float(np.sum(weights)) / max(spread, 1e-300)
