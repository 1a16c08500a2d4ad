"""A fit with one parameter held: what profiles and checks of identification are made of."""

from __future__ import annotations

import numpy as np

from forecast.laws.law import FloatArray
from forecast.laws.newton import minimise
from forecast.laws.objective import Objective


class Profile:
    """Re-optimises everything but one free parameter."""

    def __init__(self, objective: Objective, u: FloatArray, position: int) -> None:
        """Begin at the optimum u (free,)."""
        self._objective = objective
        self._position = position
        self._rest = np.delete(np.arange(len(objective.free)), position)
        lower, upper = objective.bounds()
        self._box = (lower[self._rest], upper[self._rest])
        self._starts = [u[self._rest]]
        self.best = float(objective.value(u[None])[0])

    def value(self, coordinate: float) -> float:
        """Objective with the parameter held at a solver coordinate, the others at their best."""
        base = self._objective
        value = float(np.exp(coordinate)) if base.is_log[self._position] else coordinate
        if len(self._rest) == 0:
            return float(base.value(np.array([[coordinate]]))[0])
        held = base.hold(self._position, value)
        # The soft pull on the held parameter itself is a constant of this problem, but not of the profile.
        precision = base.soft_precision[self._position]
        pull = 0.5 * precision * (value - base.soft_mean[self._position]) ** 2 if precision > 0 else 0.0
        starts = np.array([self._starts[0], self._starts[-1]])
        found = minimise(held.value, held.derivatives, starts, lower=self._box[0], upper=self._box[1], tolerance=1e-8)
        winner = int(np.argmin(found.value))
        self._starts.append(found.u[winner])
        return float(found.value[winner]) + float(pull)

    def restart(self) -> None:
        """Forget the last point: the next value is searched from the optimum."""
        del self._starts[1:]
