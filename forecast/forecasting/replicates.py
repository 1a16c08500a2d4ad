"""Replicates of a sample: runs reweighted, items redrawn, so that every method carries both kinds of chance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from forecast.forecasting.sample import Sample

SHARED_ITEM_VARIANCE = 0.5
"""Share of the sampling variance that models have in common because they answer the same items."""


def resample(sample: Sample, replicates: int, rng: np.random.Generator) -> Sample:
    """Return a sample with `replicates` rows of responses; row 0 is the data as measured.

    Every run has an exponential weight with mean 1 (Bayesian bootstrap, Rubin 1981, doi:10.1214/aos/1176345338), the same
    for all its checkpoints. Accuracies move by the part of their sampling error that models do not share; the shared
    part moves the target's measurement with them and so is no error of the forecast.
    """
    point = sample.point()
    extra = replicates - 1
    if extra <= 0:
        return point
    n_runs = int(point.run.max()) + 1
    run_weight = rng.exponential(size=(extra, n_runs))[:, point.run]
    present = np.unique(point.run).size
    run_weight *= present / np.maximum(1e-9, _sum_over_runs(run_weight, point)[:, None])
    own = rng.standard_normal((extra, n_runs))[:, point.run] * np.sqrt(1.0 - SHARED_ITEM_VARIANCE) * point.sampling_sd
    return replace(
        point,
        weight=np.vstack([point.weight, point.weight * run_weight]),
        accuracy=np.vstack([point.accuracy, np.clip(point.accuracy + own, 0.0, 1.0)]),
        nll={name: np.repeat(column, replicates, axis=0) for name, column in point.nll.items()},
    )


def _sum_over_runs(
    run_weight: np.ndarray[tuple[int, int], np.dtype[np.float64]], sample: Sample
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    _, first = np.unique(sample.run, return_index=True)
    total: np.ndarray[tuple[int], np.dtype[np.float64]] = run_weight[:, first].sum(axis=1)
    return total
