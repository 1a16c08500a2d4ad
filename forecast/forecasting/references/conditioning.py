"""A new family given its first runs: draws of its curve, by perturbing prior and data and solving again each time."""

from __future__ import annotations

import numpy as np

from forecast.core.observations import FloatArray
from forecast.forecasting.references.curves import OwnLayout, curve
from forecast.forecasting.references.fitting import FLOOR_VARIANCE, FittedPopulation
from forecast.forecasting.references.population import Measurements, Places

DRAWS = 200
ITERATIONS = 8
LONGEST_STEP = 1.5
"""In logits or units of the bent log compute: where a curve is flat the linear step overshoots."""


def draw_accuracies(
    fitted: FittedPopulation, seen: Measurements, wanted: Places, *, seed: int = 0, draws: int = DRAWS
) -> FloatArray:
    """(B, K) accuracies of checkpoints of a new family, each task's own noise and the checkpoint's luck included.

    Every draw perturbs the shared numbers by their covariance, the family's numbers by their prior and the data by their
    noise, and then finds the mode: exact for a linear model, and it keeps the skew that chance and ceiling cause
    (randomise-then-optimise, Bardsley 2014, doi:10.1137/140964023). Sampling error of the wanted measurement is not included.

    Args:
        fitted: what the references say.
        seen: the family's own runs on any of the tasks; may be empty.
        wanted: where to draw; `model` counts the checkpoints that are asked for.
        seed: of everything random.
        draws: B.
    """
    rng = np.random.default_rng(seed)
    spreads = fitted.spreads
    models = int(seen.at.model.max()) + 1 if seen.at.model.size else 0
    layout = OwnLayout(tasks=len(fitted.tasks), models=models)
    prior = spreads.own(layout)
    root = np.linalg.cholesky(fitted.covariance + 1e-10 * np.eye(len(fitted.shared)))
    shared = fitted.shared + rng.normal(size=(draws, len(fitted.shared))) @ root.T
    start = rng.normal(size=(draws, layout.size)) * np.sqrt(prior)
    shaken = rng.normal(size=(draws, seen.accuracy.size))
    own = start.copy()
    for _ in range(ITERATIONS if seen.accuracy.size else 0):
        values = curve(shared, own, seen.at, fitted.chance)
        variance = seen.variance + FLOOR_VARIANCE + np.square(values.steepness) * spreads.noise
        by_own, target = values.by_own, seen.accuracy + shaken * np.sqrt(variance) - values.accuracy
        target = target + np.einsum("bmp,bp->bm", by_own, own - start)
        weighted = by_own / variance[:, :, None]
        precision = np.swapaxes(by_own, 1, 2) @ weighted + np.diag(1.0 / prior)
        solved = start + np.linalg.solve(precision, np.einsum("bmp,bm->bp", weighted, target)[:, :, None])[:, :, 0]
        own = own + np.clip(solved - own, -LONGEST_STEP, LONGEST_STEP)
    ahead = int(wanted.model.max()) + 1
    new = np.concatenate([own[:, : layout.luck.start], rng.normal(size=(draws, ahead)) * np.sqrt(spreads.luck)], axis=1)
    found = curve(shared, new, wanted, fitted.chance)
    noise = np.sqrt(np.square(found.steepness) * spreads.noise + FLOOR_VARIANCE)
    result: FloatArray = np.clip(found.accuracy + rng.normal(size=found.accuracy.shape) * noise, 0.0, 1.0)
    return result
