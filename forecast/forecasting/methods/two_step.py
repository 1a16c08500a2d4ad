"""Two steps: a power law with an irreducible term from compute to NLL, and a sigmoid with a floor from NLL to accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecast.core.observations import FloatArray
from forecast.forecasting.method import Fitted
from forecast.forecasting.sample import Points, Sample
from forecast.forecasting.sigmoid import Sigmoid, fit_sigmoid
from forecast.forecasting.smooth_law import ComputeLaw, ParamsTokensLaw, fit_compute_law, fit_params_tokens_law

PLAIN = ("nll_per_char", "nll_per_byte", "bits_per_byte", "nll_per_token")


@dataclass(frozen=True, kw_only=True)
class _FittedTwoStep:
    nll_metric: str | None
    first: ComputeLaw | ParamsTokensLaw
    second: Sigmoid

    def nll(self, points: Points) -> FloatArray | None:
        """Step 1 at the points."""
        return self.first.value(points)

    def accuracy_of_nll(self, nll: FloatArray) -> FloatArray | None:
        """Step 2 at K values."""
        return self.second.value(np.broadcast_to(nll, (self.second.parameters.shape[0], nll.size)))

    def accuracy(self, points: Points) -> FloatArray:
        """Step 2 of step 1."""
        return self.second.value(self.first.value(points))


@dataclass(frozen=True, kw_only=True)
class TwoStep:
    """accuracy = sigmoid(NLL), NLL = E + A C^-alpha, or E + A N^-alpha + B D^-beta."""

    name: str
    summary: str
    metrics: Sequence[str]
    """Smooth metrics by preference."""
    by_params_tokens: bool = False

    def metric_of(self, sample: Sample) -> str | None:
        """Return the first of the metrics that every row has."""
        return next((m for m in self.metrics if m in sample.nll and np.isfinite(sample.nll[m][0]).sum() >= 3), None)

    def missing(self, sample: Sample) -> str | None:
        """Needs a smooth metric, and N and D for the law in them."""
        if self.metric_of(sample) is None:
            return f"none of {', '.join(self.metrics)} was measured on at least three checkpoints"
        if self.by_params_tokens:
            return lacks_params_tokens(sample)
        return None

    def fit(self, sample: Sample) -> Fitted:
        """Fit step 1 and step 2 to every replicate."""
        metric = self.metric_of(sample)
        assert metric is not None, "ask `missing` first"
        sample = sample.rows(np.isfinite(sample.nll[metric][0]))
        fit_first = fit_params_tokens_law if self.by_params_tokens else fit_compute_law
        first = fit_first(sample, sample.nll[metric])
        return _FittedTwoStep(nll_metric=metric, first=first, second=fit_sigmoid(sample, sample.nll[metric]))


def lacks_params_tokens(sample: Sample) -> str | None:
    """Say why a law in N and D cannot be fitted, or None."""
    known = np.isfinite(sample.log_params) & np.isfinite(sample.log_tokens)
    if not known.all():
        return "parameters or tokens of some checkpoints are unknown"
    if np.unique(np.round(sample.log_params, 3)).size < 2:
        return "all checkpoints have the same number of parameters"
    return None


METHODS = (
    TwoStep(name="two-step", summary="compute to NLL of the right answer to accuracy", metrics=PLAIN),
    TwoStep(name="two-step-choice", summary="compute to choice-normalised NLL to accuracy", metrics=("nll_choice_norm",)),
    TwoStep(name="two-step-loss", summary="compute to general loss to accuracy", metrics=("loss",)),
    TwoStep(name="two-step-nd", summary="(N, D) to NLL of the right answer to accuracy", metrics=PLAIN, by_params_tokens=True),
)
