"""Replicates of a sample: runs reweighted, items redrawn, so that every method reflects both kinds of chance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from forecast.core.observations import FloatArray
from forecast.forecasting.sample import Sample

SHARED_ITEM_VARIANCE = 0.5
"""Share of the sampling variance that models have in common because they answer the same items."""


def resample(sample: Sample, replicates: int, rng: np.random.Generator) -> Sample:
    """Return a sample with `replicates` rows of responses; row 0 is the data as measured.

    Every run has an exponential weight with mean 1 (Bayesian bootstrap, Rubin 1981, doi:10.1214/aos/1176345338), the same
    for all its checkpoints. Accuracies move by the part of their sampling error that models do not share; the shared
    part moves the target's measurement with them and so is not an error of the forecast. With per-item results the items
    themselves are drawn again; without them, a normal error takes their place.
    """
    point = sample.point()
    extra = replicates - 1
    if extra <= 0:
        return point
    n_runs = int(point.run.max()) + 1
    run_weight = rng.exponential(size=(extra, n_runs))[:, point.run]
    present = np.unique(point.run).size
    run_weight *= present / np.maximum(1e-9, _sum_over_runs(run_weight, point)[:, None])
    weight = np.vstack([point.weight, point.weight * run_weight])
    if point.item_correct is not None:
        return _redraw_items(replace(point, weight=weight), extra, rng)
    own = rng.standard_normal((extra, n_runs))[:, point.run] * np.sqrt(1.0 - SHARED_ITEM_VARIANCE) * point.sampling_sd
    return replace(
        point,
        weight=weight,
        accuracy=np.vstack([point.accuracy, np.clip(point.accuracy + own, 0.0, 1.0)]),
        nll={name: np.repeat(column, replicates, axis=0) for name, column in point.nll.items()},
    )


def _redraw_items(point: Sample, extra: int, rng: np.random.Generator) -> Sample:
    """Draw items with replacement, once per replicate for all models and both steps.

    What moves all models alike is removed: the target answers the same items, so it moves with them.
    """
    correct = point.item_correct
    assert correct is not None
    n_items = correct.shape[1]
    draws = rng.multinomial(n_items, np.full(n_items, 1.0 / n_items), size=extra).astype(np.float64)
    item_weight = np.vstack([np.ones(n_items), draws])

    def moved(matrix: FloatArray, column: FloatArray) -> FloatArray:
        shift = (item_weight - 1.0) @ matrix.T / n_items
        result: FloatArray = column + shift - shift.mean(axis=1, keepdims=True)
        return result

    return replace(
        point,
        accuracy=np.clip(moved(correct, point.accuracy), 0.0, 1.0),
        nll={
            name: moved(point.item_nll[name], column) if name in point.item_nll else np.repeat(column, extra + 1, axis=0)
            for name, column in point.nll.items()
        },
        item_weight=item_weight,
    )


def _sum_over_runs(
    run_weight: np.ndarray[tuple[int, int], np.dtype[np.float64]], sample: Sample
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    _, first = np.unique(sample.run, return_index=True)
    total: FloatArray = run_weight[:, first].sum(axis=1)
    return total
