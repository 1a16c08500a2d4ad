"""Rolling origin: fit on the runs up to some compute, score the ends of the larger ones, move on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecast.core.observations import BoolArray, FloatArray
from forecast.forecasting.sample import IntArray, Points, Sample

MIN_FIT_RUNS = 2
MIN_FIT_ROWS = 4
SAME_COMPUTE = 0.05
"""Runs whose log C differ by less end at the same origin."""
SAME_SIZE = 0.01
"""Runs whose log N differ by less are one model size."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """One split: rows to fit on and rows to score."""

    fitted: BoolArray
    """(M,)."""
    held: IntArray
    """Rows of the ends of larger runs."""
    log_flops: float
    """Compute of the largest run that is fitted."""


def run_ends(sample: Sample) -> IntArray:
    """Row of the end of each run: the decayed one, else the one with the most compute; ordered by compute."""
    ends = []
    for r in np.unique(sample.run):
        rows = np.flatnonzero(sample.run == r)
        final = rows[sample.is_final[rows]]
        rows = final if final.size else rows
        ends.append(int(rows[np.argmax(sample.log_flops[rows])]))
    ends.sort(key=lambda row: sample.log_flops[row])
    return np.array(ends, dtype=np.intp)


def rolling_origins(sample: Sample, *, at_most: int, by_size: bool = False) -> list[Origin]:
    """Return up to `at_most` origins, spread over compute; larger runs never leak their early checkpoints into a fit.

    Args:
        sample: all runs.
        at_most: number of origins.
        by_size: hide whole model sizes, not only the compute beyond an origin. A target larger than every run is such a
            case: on a grid of N and D the runs of most compute have neighbours of their own size, which makes them easy.
    """
    ends = run_ends(sample)
    candidates = [origin for origin in _splits(sample, ends, by_size=by_size) if _can_be_fitted(sample, origin)]
    if by_size and not candidates:
        return rolling_origins(sample, at_most=at_most)
    if len(candidates) > at_most:
        chosen = np.unique(np.round(np.linspace(0, len(candidates) - 1, at_most)).astype(int))
        candidates = [candidates[i] for i in chosen]
    return candidates


def _splits(sample: Sample, ends: IntArray, *, by_size: bool) -> list[Origin]:
    log_c, log_n = sample.log_flops[ends], sample.log_params[ends]
    origins = []
    if by_size:
        sizes = np.sort(log_n)
        for size in sizes[:-1][np.diff(sizes) > SAME_SIZE]:
            inside = log_n <= size + SAME_SIZE
            held = ends[~inside & (log_c > log_c[inside].max() + SAME_COMPUTE)]
            if held.size and int(inside.sum()) >= MIN_FIT_RUNS:
                fitted = np.isin(sample.run, sample.run[ends[inside]])
                origins.append(Origin(fitted=fitted, held=held, log_flops=float(log_c[inside].max())))
        return origins
    for k in range(MIN_FIT_RUNS, len(ends)):
        if log_c[k] - log_c[k - 1] >= SAME_COMPUTE:
            fitted = np.isin(sample.run, sample.run[ends[:k]])
            origins.append(Origin(fitted=fitted, held=ends[k:], log_flops=float(log_c[k - 1])))
    return origins


def _can_be_fitted(sample: Sample, origin: Origin) -> bool:
    log_c = sample.log_flops[origin.fitted]
    return log_c.size >= MIN_FIT_ROWS and float(np.ptp(log_c)) >= float(np.log(1.5))


def points_of(sample: Sample, rows: IntArray) -> Points:
    """Where rows lie."""
    return Points(log_flops=sample.log_flops[rows], log_params=sample.log_params[rows], log_tokens=sample.log_tokens[rows])


def distance(points: Points, sample: Sample) -> FloatArray:
    """(K,) how far points lie beyond the largest run, in log C; 0 within."""
    result: FloatArray = np.maximum(0.0, points.log_flops - float(sample.log_flops.max()))
    return result
