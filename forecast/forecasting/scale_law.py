"""A law of scale fitted to every replicate of a sample: step 1 from scale to a smooth metric, or accuracy directly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecast.core.observations import BoolArray, FloatArray
from forecast.forecasting.priors import ACCURACY_NOISE, RELATIVE_NOISE, accuracy_priors, loss_priors
from forecast.forecasting.sample import Points, Sample
from forecast.laws import Law, Space, get_law
from forecast.laws.replicate_fit import LEAST_VALUE, ReplicateFit, fit_replicates

_LOG_COLUMN = {
    "x": "log_flops",
    "flops": "log_flops",
    "params": "log_params",
    "params_non_embedding": "log_params",
    "tokens": "log_tokens",
}
"""Law input -> column of `Points`."""


@dataclass(frozen=True, kw_only=True)
class ScaleLaw:
    """A law of C, or of N and D, fitted to B replicates."""

    fit: ReplicateFit
    log_unit: FloatArray
    """(inputs,) logarithm of the largest run's inputs, in which the law's inputs are measured: amplitudes are stated there."""

    @property
    def converged(self) -> BoolArray:
        """(B,)."""
        return self.fit.converged

    def columns(self, points: Points) -> FloatArray:
        """The law's inputs (K, inputs) at the points; NaN where a point lacks one."""
        return np.exp(log_columns(self.fit.coordinates.law, points) - self.log_unit)

    def value(self, points: Points) -> FloatArray:
        """(B, K); NaN where a point lacks an input, and in replicates that did not converge."""
        return self.fit.predict(self.columns(points))


def log_columns(law: Law, points: Points) -> FloatArray:
    """Logarithms of a law's inputs at the points, (K, inputs)."""
    return np.stack([getattr(points, _LOG_COLUMN[entry.name]) for entry in law.inputs], axis=-1)


def fit_smooth_law(sample: Sample, response: FloatArray, law_name: str) -> ScaleLaw:
    """Fit log(value) of a smooth metric by least squares, with priors, to every replicate.

    Args:
        sample: M rows.
        response: (B, M) values of the metric.
        law_name: a law of C, or of N and D.
    """
    law = get_law(law_name)
    log_x = log_columns(law, sample.points)
    unit = log_x.max(axis=0)
    smallest = np.maximum(np.min(response, axis=1), LEAST_VALUE)
    fit = fit_replicates(
        law,
        np.exp(log_x - unit),
        response,
        priors=loss_priors(law, smallest),
        weight=sample.weight,
        scatter=RELATIVE_NOISE,
        space=Space.LOG,
    )
    return ScaleLaw(fit=fit, log_unit=unit)


def fit_accuracy_law(sample: Sample, law_name: str) -> ScaleLaw:
    """Fit accuracy by least squares, with priors, to every replicate; rows weigh by sampling error and residual scatter."""
    law = get_law(law_name)
    log_x = log_columns(law, sample.points)
    unit = log_x.max(axis=0)
    fit = fit_replicates(
        law,
        np.exp(log_x - unit),
        sample.accuracy,
        priors=accuracy_priors(law, sample.floor),
        weight=sample.weight,
        scatter=ACCURACY_NOISE,
        sampling_sd=sample.sampling_sd,
        space=Space.LINEAR,
    )
    return ScaleLaw(fit=fit, log_unit=unit)
