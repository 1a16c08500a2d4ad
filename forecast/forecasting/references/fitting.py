"""The hierarchical model fitted to a population: shared numbers by Gauss-Newton, spreads by expectation maximisation."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from forecast.core.observations import FloatArray
from forecast.forecasting.references.curves import CurveValues, OwnLayout, SharedLayout, curve
from forecast.forecasting.references.population import Measurements, Population

ITERATIONS = 40
SPREADS_FROM = 4
"""Iteration from which spreads are learned: before, curves are still far from the data."""
FLOOR_VARIANCE = 0.006**2
"""Least variance of an accuracy beside sampling: implementations of one task differ by that much."""
PRIOR_WEIGHT = 4.0
"""Observations that the prior of a spread is worth."""
CEILING = 2.5
"""Prior mean of a ceiling's logit above chance: .92."""


@dataclass(frozen=True, kw_only=True)
class Spreads:
    """Variances of the family's own numbers and of the shared numbers between tasks."""

    efficiency: float = 0.5**2
    slope: float = 0.3**2
    shift: float = 0.5**2
    tilt: float = 0.2**2
    luck: float = 0.2**2
    noise: float = 0.15**2
    """Of a single accuracy, in logits."""
    steepness: float = 0.5**2
    level: float = 1.5**2
    level_mean: float = 0.0

    def own(self, layout: OwnLayout) -> FloatArray:
        """(P,) variances of a family's own numbers."""
        variance = np.empty(layout.size)
        variance[0], variance[1] = self.efficiency, self.slope
        variance[layout.shift], variance[layout.tilt], variance[layout.luck] = self.shift, self.tilt, self.luck
        return variance

    def shared(self, layout: SharedLayout) -> tuple[FloatArray, FloatArray]:
        """Means and variances of the shared numbers."""
        mean, variance = np.zeros(layout.size), np.empty(layout.size)
        layout.part("b", mean)[:], layout.part("b", variance)[:] = self.level_mean, self.level
        layout.part("steepness", variance)[:] = self.steepness
        layout.part("ceiling", mean)[:], layout.part("ceiling", variance)[:] = CEILING, 1.0
        # Some prompts make small models worse than guessing; two points either way.
        layout.part("floor", variance)[:] = 0.02**2
        variance[-1] = 0.5**2
        return mean, variance


@dataclass(frozen=True, kw_only=True)
class FittedPopulation:
    """What a new family is conditioned on."""

    tasks: tuple[str, ...]
    chance: FloatArray
    shared: FloatArray
    """(Q,) at the mode."""
    covariance: FloatArray
    """(Q, Q) of the shared numbers."""
    spreads: Spreads


@dataclass(frozen=True, kw_only=True)
class _Step:
    """One family's part of a Gauss-Newton step, its own numbers eliminated."""

    inverse: FloatArray
    cross: FloatArray
    gradient: FloatArray
    values: CurveValues
    variance: FloatArray


def fit_population(population: Population, *, iterations: int = ITERATIONS) -> FittedPopulation:
    """Fit the model; deterministic, and seconds at most.

    Spreads get weak inverse-gamma priors, so that one family or one task does not make them 0 or endless.
    """
    layout = SharedLayout(tasks=len(population.tasks))
    spreads = Spreads()
    shared = np.zeros(layout.size)
    layout.part("ceiling", shared)[:] = CEILING
    own = [np.zeros(_layout(population, m).size) for m in population.measured]
    damping = 1.0
    covariance: FloatArray = np.eye(layout.size)
    for iteration in range(iterations):
        mean, prior = spreads.shared(layout)
        steps = [_linearise(population, m, spreads, shared, mine) for m, mine in zip(population.measured, own, strict=True)]
        precision: FloatArray = np.diag(1.0 / prior)
        gradient = (mean - shared) / prior
        for step, measured in zip(steps, population.measured, strict=True):
            assert step.values.by_shared is not None
            by_shared, weight = step.values.by_shared[0], 1.0 / step.variance
            precision = precision + by_shared.T @ (by_shared * weight[:, None]) - step.cross.T @ step.inverse @ step.cross
            residual = measured.accuracy - step.values.accuracy[0]
            gradient = gradient + by_shared.T @ (weight * residual) - step.cross.T @ step.inverse @ step.gradient
        move = np.linalg.solve(precision + damping * np.diag(np.diag(precision)), gradient)
        moves = [step.inverse @ (step.gradient - step.cross @ move) for step in steps]
        variances = [step.variance for step in steps]
        before = _misfit(population, spreads, variances, shared, own)
        for halving in range(8):
            size = 0.5**halving
            there, theirs = shared + size * move, [v + size * m for v, m in zip(own, moves, strict=True)]
            if _misfit(population, spreads, variances, there, theirs) < before:
                shared, own, damping = there, theirs, max(damping * 0.3, 1e-6)
                break
        else:
            damping *= 10.0
        covariance = np.asarray(np.linalg.inv(precision), dtype=np.float64)
        if iteration >= SPREADS_FROM:
            spreads = _learn(population, spreads, shared, own, steps, covariance)
    return FittedPopulation(
        tasks=population.tasks, chance=population.chance, shared=shared, covariance=covariance, spreads=spreads
    )


def _layout(population: Population, measured: Measurements) -> OwnLayout:
    return OwnLayout(tasks=len(population.tasks), models=int(measured.at.model.max()) + 1)


def _linearise(population: Population, measured: Measurements, spreads: Spreads, shared: FloatArray, own: FloatArray) -> _Step:
    values = curve(shared[None], own[None], measured.at, population.chance, with_shared=True)
    assert values.by_shared is not None
    variance = measured.variance + FLOOR_VARIANCE + np.square(values.steepness[0]) * spreads.noise
    prior = spreads.own(_layout(population, measured))
    weighted = values.by_own[0] / variance[:, None]
    return _Step(
        inverse=np.linalg.inv(values.by_own[0].T @ weighted + np.diag(1.0 / prior)),
        cross=weighted.T @ values.by_shared[0],
        gradient=weighted.T @ (measured.accuracy - values.accuracy[0]) - own / prior,
        values=values,
        variance=variance,
    )


def _misfit(
    population: Population,
    spreads: Spreads,
    variances: list[FloatArray],
    shared: FloatArray,
    own: list[FloatArray],
) -> float:
    """Minus twice the log posterior, variances of the data as given."""
    mean, prior = spreads.shared(SharedLayout(tasks=len(population.tasks)))
    total = float(np.sum(np.square(shared - mean) / prior))
    for measured, variance, mine in zip(population.measured, variances, own, strict=True):
        values = curve(shared[None], mine[None], measured.at, population.chance)
        total += float(np.sum(np.square(measured.accuracy - values.accuracy[0]) / variance))
        total += float(np.sum(np.square(mine) / spreads.own(_layout(population, measured))))
    return total


def _learn(
    population: Population,
    spreads: Spreads,
    shared: FloatArray,
    own: list[FloatArray],
    steps: list[_Step],
    covariance: FloatArray,
) -> Spreads:
    """One step of expectation maximisation: mean squares with the posterior's variances added."""
    parts: dict[str, list[FloatArray]] = {name: [] for name in ("efficiency", "slope", "shift", "tilt", "luck", "noise")}
    for measured, mine, step in zip(population.measured, own, steps, strict=True):
        layout = _layout(population, measured)
        through = step.inverse @ step.cross
        square = np.square(mine) + np.diag(step.inverse) + np.einsum("ij,jk,ik->i", through, covariance, through)
        seen = np.unique(measured.at.task)
        parts["efficiency"].append(square[:1])
        parts["slope"].append(square[1:2])
        parts["shift"].append(square[layout.shift][seen])
        parts["tilt"].append(square[layout.tilt][seen])
        parts["luck"].append(square[layout.luck])
        values = curve(shared[None], mine[None], measured.at, population.chance)
        slope = values.steepness[0]
        gain = slope * spreads.noise / (measured.variance + FLOOR_VARIANCE + np.square(slope) * spreads.noise)
        spill = np.einsum("ij,jk,ik->i", values.by_own[0], step.inverse, values.by_own[0])
        residual = measured.accuracy - values.accuracy[0]
        parts["noise"].append(np.square(gain * residual) + spreads.noise * (1 - slope * gain) + np.square(gain) * spill)
    # Means are taken out: a family's efficiency and slope are relative to the others', or b and a could drift away.
    centers = {"efficiency": float(np.mean([v[0] for v in own])) ** 2, "slope": float(np.mean([v[1] for v in own])) ** 2}
    priors = {"efficiency": 0.4**2, "slope": 0.15**2, "shift": 0.3**2, "tilt": 0.15**2, "luck": 0.1**2, "noise": 0.1**2}
    learned = {}
    for name, pieces in parts.items():
        found = np.concatenate(pieces)
        learned[name] = _shrunk(float(np.mean(found)) - centers.get(name, 0.0), found.size, priors[name])
    layout_shared = SharedLayout(tasks=len(population.tasks))
    level, steepness = layout_shared.part("b", shared), layout_shared.part("steepness", shared)
    diagonal = np.diag(covariance)
    level_square = np.square(level - level.mean()) + layout_shared.part("b", diagonal)
    steep_square = np.square(steepness - steepness.mean()) + layout_shared.part("steepness", diagonal)
    return replace(
        spreads,
        **learned,
        level_mean=float(level.mean()),
        level=_shrunk(float(level_square.mean()), level.size, 1.0),
        steepness=_shrunk(float(steep_square.mean()), level.size, 0.4**2),
    )


def _shrunk(square: float, count: int, prior: float) -> float:
    return (count * max(square, 0.0) + PRIOR_WEIGHT * prior) / (count + PRIOR_WEIGHT)
