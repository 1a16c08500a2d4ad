"""The curve of a family on a task, and its derivatives.

    accuracy = c + (u - c) logistic(b_t + a_t s + delta_ft + epsilon_ft x),   s = alpha_f + exp(beta_f) x + gamma r + zeta_m

with x the bent log compute, r the ratio of tokens to parameters, c = chance + phi_t and u = c + (1 - c) logistic(kappa_t).
Shared by all families: b, a = exp(lambda), kappa, phi of a task, and gamma. A family's own: its efficiency alpha (in units of
x), its slope exp(beta), its deviations delta and epsilon on a task (protocol included), and the luck zeta of each checkpoint.
After Sloth (arXiv:2412.06540) and observational scaling laws (arXiv:2405.10938), with one skill.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecast.core.observations import FloatArray
from forecast.forecasting.references.population import Places

STEEPEST = 2.0
"""|beta| is taken as at most this: a slope of seven times the mean."""


@dataclass(frozen=True, kw_only=True)
class SharedLayout:
    """Where the numbers that all families share lie in a vector: b, lambda, kappa, phi of T tasks, then gamma."""

    tasks: int

    def part(self, name: str, vector: FloatArray) -> FloatArray:
        """Return (..., T) of `b`, `steepness`, `ceiling` or `floor`."""
        start = ("b", "steepness", "ceiling", "floor").index(name) * self.tasks
        return vector[..., start : start + self.tasks]

    @property
    def size(self) -> int:
        """Length of the vector."""
        return 4 * self.tasks + 1


@dataclass(frozen=True, kw_only=True)
class OwnLayout:
    """Where a family's own numbers lie: alpha, beta, delta and epsilon of T tasks, zeta of M checkpoints."""

    tasks: int
    models: int

    @property
    def size(self) -> int:
        """Length of the vector."""
        return 2 + 2 * self.tasks + self.models

    @property
    def shift(self) -> slice:
        """Deviations of level."""
        return slice(2, 2 + self.tasks)

    @property
    def tilt(self) -> slice:
        """Deviations of slope."""
        return slice(2 + self.tasks, 2 + 2 * self.tasks)

    @property
    def luck(self) -> slice:
        """Of the checkpoints."""
        return slice(2 + 2 * self.tasks, self.size)


@dataclass(frozen=True, kw_only=True)
class CurveValues:
    """A curve at M places, for each of B draws."""

    accuracy: FloatArray
    """(B, M)."""
    steepness: FloatArray
    """(B, M) change of accuracy per logit."""
    by_own: FloatArray
    """(B, M, P) derivatives by the family's own numbers."""
    by_shared: FloatArray | None
    """(B, M, Q) derivatives by the shared numbers, where asked for."""


def logistic(z: FloatArray) -> FloatArray:
    """1 / (1 + exp(-z)), without overflow."""
    result: FloatArray = 1.0 / (1.0 + np.exp(-np.clip(z, -40.0, 40.0)))
    return result


def curve(shared: FloatArray, own: FloatArray, at: Places, chance: FloatArray, *, with_shared: bool = False) -> CurveValues:
    """Evaluate the curve.

    Args:
        shared: (B, Q).
        own: (B, P).
        at: M places.
        chance: (T,).
        with_shared: whether the derivatives by the shared numbers are wanted.
    """
    draws, count, tasks = own.shape[0], at.task.size, chance.size
    layout, mine = SharedLayout(tasks=tasks), OwnLayout(tasks=tasks, models=own.shape[1] - 2 - 2 * tasks)
    t, x, rows = at.task, at.scale, np.arange(count)
    a = np.exp(layout.part("steepness", shared))[:, t]
    speed = np.exp(np.clip(own[:, 1:2], -STEEPEST, STEEPEST))
    skill = own[:, :1] + speed * x + shared[:, -1:] * at.ratio + own[:, mine.luck][:, at.model]
    eta = layout.part("b", shared)[:, t] + a * skill + own[:, mine.shift][:, t] + own[:, mine.tilt][:, t] * x
    share = logistic(eta)
    floor = chance[t] + layout.part("floor", shared)[:, t]
    top = logistic(layout.part("ceiling", shared)[:, t])
    slope = (1.0 - floor) * top * share * (1.0 - share)
    by_own = np.zeros((draws, count, own.shape[1]))
    by_own[:, :, 0], by_own[:, :, 1] = slope * a, slope * a * x * speed
    by_own[:, rows, 2 + t], by_own[:, rows, 2 + tasks + t] = slope, slope * x
    by_own[:, rows, 2 + 2 * tasks + at.model] = slope * a
    by_shared = None
    if with_shared:
        by_shared = np.zeros((draws, count, layout.size))
        by_shared[:, rows, t] = slope
        by_shared[:, rows, tasks + t] = slope * a * skill
        by_shared[:, rows, 2 * tasks + t] = (1.0 - floor) * share * top * (1.0 - top)
        by_shared[:, rows, 3 * tasks + t] = 1.0 - share * top
        by_shared[:, :, -1] = slope * a * at.ratio
    accuracy = floor + (1.0 - floor) * top * share
    return CurveValues(accuracy=accuracy, steepness=slope, by_own=by_own, by_shared=by_shared)
