"""The published OLMo-ladder recipe (Bhagia 2024, arXiv:2412.04403), as a yardstick: no priors, no ensemble.

Details that the paper leaves open follow its code, https://github.com/allenai/OLMo-ladder.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecast.core.metrics import TEXT_METRICS
from forecast.core.observations import FloatArray
from forecast.forecasting.method import Fitted
from forecast.forecasting.sample import Detail, Points, Sample

METRICS = ("bits_per_byte", *(name for name in TEXT_METRICS if name != "bits_per_byte"))
"""The recipe is made for bits per byte; without them the next in the table's order."""
LAST_CHECKPOINTS = 5
"""Step 1 averages the last five checkpoints of each run (section 3.1)."""
SKIPPED_SHARE = 0.1
WINDOW = 5
"""Step 2 leaves out the first tenth of each run and smooths by a moving average of five checkpoints (section 3.2)."""
HUBER_DELTA = 1e-3
MIN_RUNS = 4
FIRST_START = (3.0, 6.0, 0.1, 0.2, 1.0)
"""Step 1's only start: log A, log B, alpha, beta, E, all kept positive (OLMo-ladder, src/fitting/step1.py)."""


@dataclass(frozen=True, kw_only=True)
class _FittedLadder:
    nll_metric: str | None
    first: FloatArray
    """log A, log B, alpha, beta, E."""
    second: FloatArray
    """a, x0, k, b of accuracy = a / (1 + exp(-k (x - x0))) + b."""
    replicates: int

    def nll(self, points: Points) -> FloatArray:
        """(B, K): the same in every replicate, for the recipe has no bootstrap."""
        known = np.isfinite(points.log_params) & np.isfinite(points.log_tokens)
        values = np.full(points.log_flops.size, np.nan)
        if known.any():
            values[known] = _power_law(self.first, points.log_params[known], points.log_tokens[known])
        return np.tile(values, (self.replicates, 1))

    def accuracy_of_nll(self, nll: FloatArray) -> FloatArray:
        """(B, K)."""
        known = np.isfinite(nll)
        values = np.full(nll.size, np.nan)
        if known.any():
            values[known] = _sigmoid(nll[known], *self.second)
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
            sizes.append((detail.log_params[rows[-1]], detail.log_tokens[rows[-1]]))
            ends.append(float(detail.nll[metric][last].mean()))
            late = rows[int(np.ceil(SKIPPED_SHARE * rows.size)) :] if rows.size >= WINDOW else rows
            smooth_x.append(_moving_average(detail.nll[metric][late]))
            smooth_y.append(_moving_average(detail.accuracy[late]))
        first = _fit_power_law(np.array(sizes), np.array(ends))
        second = _fit_sigmoid(np.concatenate(smooth_x), np.concatenate(smooth_y), sample.chance)
        return _FittedLadder(nll_metric=metric, first=first, second=second, replicates=sample.replicates)

    @staticmethod
    def _metric(detail: Detail) -> str | None:
        return next((m for m in METRICS if m in detail.nll and np.isfinite(detail.nll[m]).all()), None)


def _power_law(p: FloatArray, log_n: FloatArray, log_d: FloatArray) -> FloatArray:
    result: FloatArray = np.exp(p[0] - p[2] * log_n) + np.exp(p[1] - p[3] * log_d) + p[4]
    return result


def _fit_power_law(sizes: FloatArray, ends: FloatArray) -> FloatArray:
    """Huber loss of the logarithms' difference, by L-BFGS-B from one start, to as many digits as there are."""
    from scipy import optimize

    log_n, log_d, log_y = sizes[:, 0], sizes[:, 1], np.log(ends)

    def objective(p: FloatArray) -> tuple[float, FloatArray]:
        by_n, by_d = np.exp(np.minimum(300.0, np.stack([p[0] - p[2] * log_n, p[1] - p[3] * log_d])))
        value = by_n + by_d + p[4]
        u = np.log(value) - log_y
        size, slope = np.abs(u), np.clip(u, -HUBER_DELTA, HUBER_DELTA) / value
        loss = np.where(size < HUBER_DELTA, 0.5 * u * u, HUBER_DELTA * (size - 0.5 * HUBER_DELTA))
        gradient = np.stack([slope * by_n, slope * by_d, -slope * by_n * log_n, -slope * by_d * log_d, slope])
        return float(loss.sum()), gradient.sum(axis=1)

    found = optimize.minimize(
        objective,
        np.array(FIRST_START),
        jac=True,
        bounds=[(0.0, None)] * 5,
        method="L-BFGS-B",
        options={"ftol": 0.0, "gtol": 1e-10, "maxiter": 100_000, "maxfun": 100_000},
    )
    return np.asarray(found.x, dtype=np.float64)


def _sigmoid(x: FloatArray, a: float, x0: float, k: float, b: float) -> FloatArray:
    from scipy import special

    result: FloatArray = a * special.expit(k * (x - x0)) + b
    return result


def _fit_sigmoid(x: FloatArray, y: FloatArray, chance: float) -> FloatArray:
    """Least squares within bounds, with an ideal point added: at NLL 0 all answers are right (src/fitting/step2.py)."""
    from scipy import optimize

    floor = chance if np.isfinite(chance) else 0.25
    x, y = np.append(x, 0.0), np.append(y, 1.0)

    def residual(p: FloatArray) -> FloatArray:
        return _sigmoid(x, *p) - y

    found = optimize.least_squares(
        residual,
        np.array([floor - 1.0, 0.9, 3.0, 1.0]),
        bounds=([-1.0, 0.0, 0.0, 0.0], [0.0, np.inf, np.inf, 1.0]),
        max_nfev=20_000,
    )
    return np.asarray(found.x, dtype=np.float64)


def _moving_average(values: FloatArray) -> FloatArray:
    """Trailing mean over `WINDOW` values, shorter at the start."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(1, values.size + 1)
    start = np.maximum(0, index - WINDOW)
    result: FloatArray = (total[index] - total[start]) / (index - start)
    return result


METHODS = (OlmoLadder(),)
