"""The published OLMo-ladder recipe (Bhagia 2024, arXiv:2412.04403), as a yardstick: no priors, no ensemble."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecast.core.observations import FloatArray
from forecast.forecasting.method import Fitted
from forecast.forecasting.sample import Detail, Points, Sample
from forecast.laws import FitResult, Huber, fit, get_law

METRICS = ("bits_per_byte", "nll_per_byte", "nll_per_char", "nll_per_token")
LAST_CHECKPOINTS = 5
"""Step 1 averages the last five checkpoints of each run (section 3.1)."""
SKIPPED_SHARE = 0.1
WINDOW = 5
"""Step 2 leaves out the first tenth of each run and smooths by a moving average of five checkpoints (section 3.2)."""
HUBER_DELTA = 1e-3
MIN_RUNS = 4
STARTS = 4
"""Starts polished per fit; the law's own grid of starts is good, and back-tests fit often."""


@dataclass(frozen=True, kw_only=True)
class _FittedLadder:
    nll_metric: str | None
    first: FitResult
    second: FitResult
    replicates: int

    def nll(self, points: Points) -> FloatArray:
        """(B, K): the same in every replicate, for the recipe has no bootstrap."""
        known = np.isfinite(points.log_params) & np.isfinite(points.log_tokens)
        values = np.full(points.log_flops.size, np.nan)
        if known.any():
            values[known] = self.first.predict(np.exp(np.stack([points.log_params, points.log_tokens], axis=1)[known]))
        return np.tile(values, (self.replicates, 1))

    def accuracy_of_nll(self, nll: FloatArray) -> FloatArray:
        """(B, K)."""
        known = np.isfinite(nll)
        values = np.full(nll.size, np.nan)
        if known.any():
            values[known] = self.second.predict(nll[known])
        return np.tile(values, (self.replicates, 1))

    def accuracy(self, points: Points) -> FloatArray:
        """(B, K)."""
        return self.accuracy_of_nll(self.nll(points)[0])


class OlmoLadder:
    """BPB = A / N^alpha + B / D^beta + E on averaged ends; accuracy = sigmoid(BPB) on smoothed checkpoints."""

    name = "olmo-ladder"
    summary = "the published OLMo-ladder recipe"

    def missing(self, sample: Sample) -> str | None:
        """A smooth metric, N and D, four runs."""
        if sample.detail is None or self._metric(sample.detail) is None:
            return f"none of {', '.join(METRICS)} was measured on every checkpoint"
        if sample.n_runs < MIN_RUNS:
            return f"it needs {MIN_RUNS} runs and there are {sample.n_runs}"
        return sample.lacks_params_tokens()

    def fit(self, sample: Sample) -> Fitted:
        """Fit both steps to the data as measured."""
        detail = sample.detail
        assert detail is not None
        metric = self._metric(detail)
        assert metric is not None
        sizes, ends, smooth_x, smooth_y = [], [], [], []
        for r in np.unique(detail.run):
            rows = np.flatnonzero(detail.run == r)
            last = rows[-LAST_CHECKPOINTS:]
            sizes.append((np.exp(detail.log_params[rows[-1]]), np.exp(detail.log_tokens[rows[-1]])))
            ends.append(float(detail.nll[metric][last].mean()))
            late = rows[int(np.ceil(SKIPPED_SHARE * rows.size)) :] if rows.size >= WINDOW else rows
            smooth_x.append(_moving_average(detail.nll[metric][late]))
            smooth_y.append(_moving_average(detail.accuracy[late]))
        first = fit(get_law("olmo-loss"), np.array(sizes), np.array(ends), loss=Huber(delta=HUBER_DELTA), starts=STARTS)
        second = fit(
            get_law("olmo-accuracy"), np.concatenate(smooth_x), np.concatenate(smooth_y), loss=Huber(delta=HUBER_DELTA)
        )
        return _FittedLadder(nll_metric=metric, first=first, second=second, replicates=sample.replicates)

    @staticmethod
    def _metric(detail: Detail) -> str | None:
        return next((m for m in METRICS if m in detail.nll and np.isfinite(detail.nll[m]).all()), None)


def _moving_average(values: FloatArray) -> FloatArray:
    """Trailing mean over `WINDOW` values, shorter at the start."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(1, values.size + 1)
    start = np.maximum(0, index - WINDOW)
    result: FloatArray = (total[index] - total[start]) / (index - start)
    return result


METHODS = (OlmoLadder(),)
