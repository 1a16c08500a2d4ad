"""Two steps: power laws with an irreducible term from scale to NLL, and a sigmoid with a floor from NLL to accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecast.core.metrics import TEXT_METRICS
from forecast.core.observations import FloatArray
from forecast.forecasting.link import Link, fit_link
from forecast.forecasting.method import Fitted
from forecast.forecasting.sample import Points, Sample
from forecast.forecasting.scale_law import ScaleLaw, fit_smooth_law
from forecast.laws import get_law

FIRST = ("power-law-offset", "chinchilla")
"""Laws of step 1: of C, and of N and D where they are known."""


@dataclass(frozen=True, kw_only=True)
class _FittedTwoStep:
    nll_metric: str | None
    first: Sequence[ScaleLaw]
    second: Link

    def nll(self, points: Points) -> FloatArray:
        """Step 1 at the points: geometric mean of its laws that can be evaluated there."""
        values = np.stack([np.log(law.value(points)) for law in self.first])
        known = np.isfinite(values)
        with np.errstate(invalid="ignore"):
            result: FloatArray = np.exp(np.where(known, values, 0.0).sum(axis=0) / known.sum(axis=0))
        return result

    def accuracy_of_nll(self, nll: FloatArray) -> FloatArray:
        """Step 2 at K values."""
        return self.second.value(nll)

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
    first: Sequence[str] = FIRST
    """Laws of step 1 by name, one of C first; those of N and D are fitted where these are known."""
    second: str = "sigmoid"
    """Law of step 2 by name."""

    def metric_of(self, sample: Sample) -> str | None:
        """Return the metric that most rows have; among equals the sample's own, or failing that the first.

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

    def laws_for(self, sample: Sample) -> list[str]:
        """Return the laws of step 1 that this sample suffices for."""
        by_size = sample.lacks_params_tokens() is None
        return [name for name in self.first if by_size or len(get_law(name).inputs) == 1]

    def fit(self, sample: Sample) -> Fitted:
        """Fit step 1 and step 2 to every replicate."""
        metric = self.metric_of(sample)
        assert metric is not None, "ask `missing` first"
        sample = sample.rows(np.isfinite(sample.nll[metric][0]))
        response = sample.nll[metric]
        first = [fit_smooth_law(sample, response, name) for name in self.laws_for(sample)]
        return _FittedTwoStep(nll_metric=metric, first=first, second=fit_link(sample, response, self.second))


METHODS = (
    TwoStep(name="two-step", summary="scale to NLL of the right answer to accuracy", metrics=TEXT_METRICS),
    TwoStep(name="two-step-choice", summary="scale to choice-normalised NLL to accuracy", metrics=("nll_choice_norm",)),
    TwoStep(name="two-step-loss", summary="scale to general loss to accuracy", metrics=("loss",)),
)
