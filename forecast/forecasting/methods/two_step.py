"""Two steps: power laws with an irreducible term from scale to NLL, and a sigmoid with a floor from NLL to accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecast.core.metrics import TEXT_METRICS
from forecast.core.observations import FloatArray
from forecast.forecasting.method import Fitted
from forecast.forecasting.sample import Points, Sample
from forecast.forecasting.sigmoid import Sigmoid, fit_sigmoid
from forecast.forecasting.smooth_law import ComputeLaw, ParamsTokensLaw, fit_compute_law, fit_params_tokens_law


@dataclass(frozen=True, kw_only=True)
class _FittedTwoStep:
    nll_metric: str | None
    first: Sequence[ComputeLaw | ParamsTokensLaw]
    second: Sigmoid

    def nll(self, points: Points) -> FloatArray:
        """Step 1 at the points: geometric mean of its laws that can be evaluated there."""
        values = np.stack([np.log(law.value(points)) for law in self.first])
        known = np.isfinite(values)
        result: FloatArray = np.exp(np.where(known, values, 0.0).sum(axis=0) / known.sum(axis=0))
        return result

    def accuracy_of_nll(self, nll: FloatArray) -> FloatArray:
        """Step 2 at K values."""
        return self.second.value(np.broadcast_to(nll, (self.second.parameters.shape[0], nll.size)))

    def accuracy(self, points: Points) -> FloatArray:
        """Step 2 of step 1."""
        return self.second.value(self.nll(points))


@dataclass(frozen=True, kw_only=True)
class TwoStep:
    """accuracy = sigmoid(NLL); NLL = E + A C^-alpha averaged with E + A N^-alpha + B D^-beta where N and D are known."""

    name: str
    summary: str
    metrics: Sequence[str]
    """Smooth metrics by preference."""

    def metric_of(self, sample: Sample) -> str | None:
        """Return the metric among those that most rows have, of equals the sample's own, else the first.

        None when three rows have none.
        """
        order = sorted(self.metrics, key=lambda metric: metric != sample.nll_metric)
        counts = {m: int(np.isfinite(sample.nll[m][0]).sum()) for m in order if m in sample.nll}
        best = max(counts.values(), default=0)
        return next((m for m, count in counts.items() if count == best), None) if best >= 3 else None

    def missing(self, sample: Sample) -> str | None:
        """Needs a smooth metric on three rows of two runs."""
        metric = self.metric_of(sample)
        if metric is None:
            return f"none of {', '.join(self.metrics)} was measured on at least three checkpoints"
        if np.unique(sample.run[np.isfinite(sample.nll[metric][0])]).size < 2:
            return f"{metric} was measured on one run only"
        return None

    def fit(self, sample: Sample) -> Fitted:
        """Fit step 1 and step 2 to every replicate."""
        metric = self.metric_of(sample)
        assert metric is not None, "ask `missing` first"
        sample = sample.rows(np.isfinite(sample.nll[metric][0]))
        response = sample.nll[metric]
        first: list[ComputeLaw | ParamsTokensLaw] = [fit_compute_law(sample, response)]
        if sample.lacks_params_tokens() is None:
            first.append(fit_params_tokens_law(sample, response))
        return _FittedTwoStep(nll_metric=metric, first=first, second=fit_sigmoid(sample, response))


METHODS = (
    TwoStep(name="two-step", summary="scale to NLL of the right answer to accuracy", metrics=TEXT_METRICS),
    TwoStep(name="two-step-choice", summary="scale to choice-normalised NLL to accuracy", metrics=("nll_choice_norm",)),
    TwoStep(name="two-step-loss", summary="scale to general loss to accuracy", metrics=("loss",)),
)
