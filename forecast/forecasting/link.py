"""Step 2: accuracy as a sigmoid of a smooth metric, with a floor near chance that may lie below it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecast.core.observations import BoolArray, FloatArray
from forecast.forecasting.priors import ACCURACY_NOISE, link_priors
from forecast.forecasting.sample import Sample
from forecast.laws import Space, get_law
from forecast.laws.replicate_fit import ReplicateFit, fit_replicates


@dataclass(frozen=True, kw_only=True)
class Link:
    """A law from a smooth metric to accuracy, fitted to B replicates."""

    fit: ReplicateFit

    @property
    def converged(self) -> BoolArray:
        """(B,)."""
        return self.fit.converged

    def value(self, x: FloatArray) -> FloatArray:
        """Accuracies (B, K) at values (B, K) or (K,) of the metric."""
        return self.fit.predict(np.broadcast_to(x, (len(self.fit.u), x.shape[-1]))[..., None])


def fit_link(sample: Sample, x: FloatArray, law_name: str = "sigmoid") -> Link:
    """Fit every replicate by least squares, each row weighted by its sampling error and the residual scatter.

    Args:
        sample: M rows.
        x: (B, M) values of the smooth metric.
        law_name: a law of one loss-like input.
    """
    law = get_law(law_name)
    fit = fit_replicates(
        law,
        x[..., None],
        sample.accuracy,
        priors=link_priors(law, x[0], sample.floor),
        weight=sample.weight,
        scatter=ACCURACY_NOISE,
        sampling_sd=sample.sampling_sd,
        space=Space.LINEAR,
    )
    return Link(fit=fit)
