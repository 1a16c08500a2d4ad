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
    """Row of the end of each run: the decayed one, or else the one with the most compute; ordered by compute."""
    ends = []
    for r in np.unique(sample.run):
        rows = np.flatnonzero(sample.run == r)
        final = rows[sample.is_final[rows]]
        rows = final if final.size else rows
        ends.append(int(rows[np.argmax(sample.log_flops[rows])]))
    ends.sort(key=lambda row: sample.log_flops[row])
    return np.array(ends, dtype=np.intp)


def rolling_origins(sample: Sample, *, at_most: int) -> list[Origin]:
    """Return up to `at_most` origins, spread over compute; larger runs never leak their early checkpoints into a fit.

    Args:
        sample: all runs.
        at_most: number of origins.
    """
    ends = run_ends(sample)
    candidates = [origin for origin in _splits(sample, ends) if _can_be_fitted(sample, origin)]
    if len(candidates) > at_most:
        chosen = np.unique(np.round(np.linspace(0, len(candidates) - 1, at_most)).astype(int))
        candidates = [candidates[i] for i in chosen]
    return candidates


def _splits(sample: Sample, ends: IntArray) -> list[Origin]:
    log_c = sample.log_flops[ends]
    origins = []
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
