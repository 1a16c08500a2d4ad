"""Item level: every item has its own curve, pooled towards the others; accuracy is the mean of the curves."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from forecast.core.metrics import TEXT_METRICS
from forecast.core.observations import FloatArray
from forecast.forecasting.method import Fitted
from forecast.forecasting.methods.two_step import TwoStep
from forecast.forecasting.sample import Points, Sample
from forecast.forecasting.scale_law import ScaleLaw, fit_smooth_law

EM_ROUNDS = 40
NEWTON_STEPS = 2
GRID = 120
SLOPE_SPREAD = 0.3
"""Largest spread of slopes over items, as a share of their mean: more would let items unlearn as models grow."""
MIN_ITEMS = 20
MIN_FLOOR = 0.02
"""Least probability of a right answer: keeps logarithms finite on tasks without choices."""


@dataclass(frozen=True, kw_only=True)
class _ItemCurve:
    """Mean over items of floor + (1 - floor) sigmoid(a_i + b_i x), for every replicate's items, on a grid of x."""

    grid: FloatArray
    accuracy: FloatArray
    """(B, G)."""

    def value(self, x: FloatArray) -> FloatArray:
        """(B, K) of (B, K) or (K,)."""
        return np.stack(
            [
                np.interp(row, self.grid, curve)
                for row, curve in zip(np.broadcast_to(x, (len(self.accuracy), x.shape[-1])), self.accuracy, strict=True)
            ]
        )


@dataclass(frozen=True, kw_only=True)
class _FittedItems:
    nll_metric: str | None
    first: ScaleLaw | None
    curve: _ItemCurve
    center: float
    spread: float

    def nll(self, points: Points) -> FloatArray | None:
        """(B, K), or None when items are curves of compute."""
        return None if self.first is None else self.first.value(points)

    def accuracy_of_nll(self, nll: FloatArray) -> FloatArray | None:
        """(B, K), or None when items are curves of compute."""
        return None if self.first is None else self.curve.value((self.center - nll) / self.spread)

    def accuracy(self, points: Points) -> FloatArray:
        """(B, K)."""
        if self.first is None:
            return self.curve.value((points.log_flops - self.center) / self.spread)
        return self.curve.value((self.center - self.first.value(points)) / self.spread)


class ItemLevel:
    """P(item i right) = floor + (1 - floor) sigmoid(a_i + b_i x), (a_i, b_i) ~ Normal(mu, Sigma) over items.

    x is minus the law's NLL where an NLL was measured, else log C, in standard units. Empirical Bayes: mu and Sigma
    by EM with a Laplace approximation per item (Bock & Aitkin 1981, doi:10.1007/BF02293801, with priors).
    """

    name = "item-level"
    summary = "each item's probability of being right, pooled over items"
    _steps = TwoStep(name="two-step", summary="", metrics=(*TEXT_METRICS, "nll_choice_norm"))

    def missing(self, sample: Sample) -> str | None:
        """Per-item results of at least twenty items on three rows."""
        if sample.item_correct is None:
            return "there are no per-item results for all checkpoints"
        if sample.item_correct.shape[1] < MIN_ITEMS or len(sample) < 3:
            return f"it needs {MIN_ITEMS} items and three checkpoints"
        return None

    def fit(self, sample: Sample) -> Fitted:
        """Fit step 1 to every replicate and the item curves to the data; replicates redraw the items."""
        assert sample.item_correct is not None, "ask `missing` first"
        # The curves' weight in `auto` was chosen on the table's order: a card's other measure would be untested here.
        plain = replace(sample, nll_metric=None)
        metric = self._steps.metric_of(plain) if self._steps.missing(plain) is None else None
        first: ScaleLaw | None = None
        if metric is not None and np.isfinite(sample.nll[metric][0]).all():
            first = fit_smooth_law(sample, sample.nll[metric], self._steps.laws_for(sample)[-1])
        if first is not None and first.converged[0]:
            raw = -first.value(sample.points)[0]
        else:
            metric, first, raw = None, None, sample.log_flops
        center, spread = float(raw.mean()), float(max(raw.std(), 1e-9))
        floor = max(sample.chance, MIN_FLOOR) if np.isfinite(sample.chance) else MIN_FLOOR
        x = (raw - center) / spread
        intercept, slope, covariance = _empirical_bayes(x, sample.item_correct, sample.weight[0], floor)
        grid = np.linspace(x.min() - 1.0, x.max() + 6.0, GRID)
        # Averaging a sigmoid over a normal error shrinks its argument by sqrt(1 + pi v / 8) (MacKay 1992).
        variance = (
            covariance[:, 0, 0][:, None] + 2 * np.outer(covariance[:, 0, 1], grid) + np.outer(covariance[:, 1, 1], grid**2)
        )
        z = (intercept[:, None] + np.outer(slope, grid)) / np.sqrt(1.0 + np.pi * np.maximum(variance, 0.0) / 8.0)
        probability = floor + (1.0 - floor) / (1.0 + np.exp(-np.clip(z, -40, 40)))
        weight = np.ones((sample.replicates, slope.size)) if sample.item_weight is None else sample.item_weight
        weight = np.broadcast_to(weight, (sample.replicates, slope.size)) / weight.sum(axis=1, keepdims=True)
        curves = weight @ probability
        # The target answers the same items: only the shape of the redrawn curves is uncertain, not their common height.
        at_top = int(np.argmin(np.abs(grid - x.max())))
        curves = curves - curves[:, [at_top]] + curves[0, at_top]
        return _FittedItems(
            nll_metric=metric,
            first=first,
            curve=_ItemCurve(grid=grid, accuracy=np.clip(curves, 0.0, 1.0)),
            center=center if first is None else -center,
            spread=spread,
        )


def _empirical_bayes(
    x: FloatArray, correct_MxI: FloatArray, weight: FloatArray, floor: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Posterior modes (I,), (I,) and covariances (I, 2, 2) of intercept and slope."""
    y = correct_MxI.T
    mean, prior = np.array([0.0, 1.0]), np.diag([4.0, 0.09])
    theta = np.tile(mean, (y.shape[0], 1))
    covariance = np.tile(prior, (y.shape[0], 1, 1))
    design = np.stack([np.ones_like(x), x], axis=1)
    for _ in range(EM_ROUNDS):
        precision = np.linalg.inv(prior)
        for _ in range(NEWTON_STEPS):
            z = np.clip(theta @ design.T, -30, 30)
            s = 1.0 / (1.0 + np.exp(-z))
            p = np.clip(floor + (1 - floor) * s, 1e-6, 1 - 1e-6)
            slope = (1 - floor) * s * (1 - s)
            information = np.einsum("im,mp,mq->ipq", weight * slope**2 / (p * (1 - p)), design, design) + precision
            gradient = (weight * slope * (y - p) / (p * (1 - p))) @ design - (theta - mean) @ precision
            step = np.linalg.solve(information, gradient[:, :, None])[:, :, 0]
            theta = theta + np.clip(step, -2.0, 2.0)
        covariance = np.linalg.inv(information)
        mean = theta.mean(axis=0)
        spread = theta - mean
        prior = (np.einsum("ip,iq->pq", spread, spread) + covariance.sum(axis=0)) / len(theta) + 1e-4 * np.eye(2)
        shrink = np.diag([1.0, min(1.0, SLOPE_SPREAD * abs(mean[1]) / float(np.sqrt(prior[1, 1])))])
        prior = shrink @ prior @ shrink
    return theta[:, 0], theta[:, 1], covariance


METHODS = (ItemLevel(),)
