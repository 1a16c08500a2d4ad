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
from forecast.laws import Huber, Space, get_law

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
SETTLED = 1e-6
"""Largest slope of the objective, in those coordinates, at which a search that ran out of digits counts as settled."""
FIRST_LAW, SECOND_LAW = get_law("olmo-loss"), get_law("olmo-accuracy")


@dataclass(frozen=True, kw_only=True)
class _FittedLadder:
    nll_metric: str | None
    first: FloatArray
    """Theta of `olmo-loss`; NaN where the search did not reach an optimum."""
    second: FloatArray
    """Theta of `olmo-accuracy`, likewise."""
    replicates: int

    def nll(self, points: Points) -> FloatArray:
        """(B, K) values, the same in every replicate because the recipe has no bootstrap."""
        known = np.isfinite(points.log_params) & np.isfinite(points.log_tokens)
        values = np.full(points.log_flops.size, np.nan)
        if known.any():
            scale = np.exp(np.stack([points.log_params[known], points.log_tokens[known]], axis=-1))
            values[known] = FIRST_LAW.predict(scale, self.first)
        return np.tile(values, (self.replicates, 1))

    def accuracy_of_nll(self, nll: FloatArray) -> FloatArray:
        """(B, K)."""
        known = np.isfinite(nll)
        values = np.full(nll.size, np.nan)
        if known.any():
            values[known] = SECOND_LAW.predict(nll[known][:, None], self.second)
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
        first = _fit_first(np.exp(np.array(sizes)), np.array(ends))
        second = _fit_second(np.concatenate(smooth_x), np.concatenate(smooth_y), sample.chance)
        return _FittedLadder(nll_metric=metric, first=first, second=second, replicates=sample.replicates)

    @staticmethod
    def _metric(detail: Detail) -> str | None:
        return next((m for m in METRICS if m in detail.nll and np.isfinite(detail.nll[m]).all()), None)


def _fit_first(sizes: FloatArray, ends: FloatArray) -> FloatArray:
    """Theta of step 1: Huber loss of the logarithms' difference, by L-BFGS-B from one start, to as many digits as there are.

    With few sizes A, alpha and E trade off against each other; where the recipe's search ends on that ridge is part of it.
    """
    from scipy import optimize

    loss, ones = Huber(HUBER_DELTA), np.ones(len(ends))

    def theta(p: FloatArray) -> FloatArray:
        log_a, log_b, alpha, beta, e = p
        return FIRST_LAW.vector({"A": np.exp(log_a), "B": np.exp(log_b), "alpha": alpha, "beta": beta, "E": e})

    def objective(p: FloatArray) -> tuple[float, FloatArray]:
        at = theta(np.minimum(p, 300.0))
        value, slope, _ = loss.terms(FIRST_LAW.predict(sizes, at), ends, ones, Space.LOG)
        by_name = dict(zip(FIRST_LAW.names, slope @ FIRST_LAW.jacobian(sizes, at), strict=True))
        by_name |= {name: by_name[name] * at[FIRST_LAW.names.index(name)] for name in ("A", "B")}
        return float(value.sum()), np.array([by_name[name] for name in ("A", "B", "alpha", "beta", "E")])

    found = optimize.minimize(
        objective,
        np.array(FIRST_START),
        jac=True,
        bounds=[(0.0, None)] * 5,
        method="L-BFGS-B",
        options={"ftol": 0.0, "gtol": 1e-10, "maxiter": 100_000, "maxfun": 100_000},
    )
    # With ftol 0 the line search may end at machine precision without meeting gtol: an optimum all the same.
    settled = found.success or float(np.abs(found.jac).max()) < SETTLED
    return theta(found.x) if settled else np.full(5, np.nan)


def _fit_second(x: FloatArray, y: FloatArray, chance: float) -> FloatArray:
    """Theta of step 2: least squares within bounds, with an ideal point added, at NLL 0 all answers are right (step2.py)."""
    from scipy import optimize

    floor = chance if np.isfinite(chance) else 0.25
    columns, y = np.append(x, 0.0)[:, None], np.append(y, 1.0)

    def residual(theta: FloatArray) -> FloatArray:
        return SECOND_LAW.predict(columns, theta) - y

    def slopes(theta: FloatArray) -> FloatArray:
        return SECOND_LAW.jacobian(columns, theta)

    found = optimize.least_squares(
        residual,
        SECOND_LAW.vector({"a": floor - 1.0, "L0": 0.9, "k": 3.0, "b": 1.0}),
        jac=slopes,
        bounds=([-1.0, 0.0, 0.0, 0.0], [0.0, np.inf, np.inf, 1.0]),
        max_nfev=20_000,
    )
    return np.asarray(found.x if found.success else np.full(4, np.nan), dtype=np.float64)


def _moving_average(values: FloatArray) -> FloatArray:
    """Trailing mean over `WINDOW` values, shorter at the start."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(1, values.size + 1)
    start = np.maximum(0, index - WINDOW)
    result: FloatArray = (total[index] - total[start]) / (index - start)
    return result


METHODS = (OlmoLadder(),)
