"""Both steps in one likelihood: the NLL that the sigmoid reads is the law's, not a noisy measurement of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecast.core.metrics import TEXT_METRICS
from forecast.core.observations import FloatArray
from forecast.forecasting.batch_solver import solve_batch
from forecast.forecasting.method import Fitted
from forecast.forecasting.methods.two_step import TwoStep
from forecast.forecasting.sample import Points, Sample
from forecast.forecasting.sigmoid import Sigmoid, fit_sigmoid
from forecast.forecasting.smooth_law import (
    ComputeLaw,
    ParamsTokensLaw,
    fit_compute_law,
    fit_params_tokens_law,
    law_prior,
    residual_noise,
)

NLL_NOISE, ACCURACY_NOISE = 0.01, 0.01
"""Residual scatter of log NLL and of accuracy between runs that a fit starts from."""


@dataclass(frozen=True, kw_only=True)
class _FittedJoint:
    nll_metric: str | None
    first: ComputeLaw | ParamsTokensLaw
    second: Sigmoid

    def nll(self, points: Points) -> FloatArray:
        """(B, K)."""
        return self.first.value(points)

    def accuracy_of_nll(self, nll: FloatArray) -> FloatArray:
        """(B, K)."""
        return self.second.value(np.broadcast_to(nll, (self.second.parameters.shape[0], nll.size)))

    def accuracy(self, points: Points) -> FloatArray:
        """(B, K)."""
        return self.second.value(self.first.value(points))


class Joint:
    """max over theta, phi of sum log p(NLL | law_theta) + log p(accuracy | sigmoid_phi(law_theta)) + log priors."""

    name = "joint"
    summary = "both steps fitted in one likelihood"
    _steps = TwoStep(name="two-step", summary="", metrics=(*TEXT_METRICS, "nll_choice_norm", "loss"))

    def missing(self, sample: Sample) -> str | None:
        """As the two steps."""
        return self._steps.missing(sample)

    def fit(self, sample: Sample) -> Fitted:
        """Start from the two steps fitted apart, then move all parameters together."""
        metric = self._steps.metric_of(sample)
        assert metric is not None, "ask `missing` first"
        sample = sample.rows(np.isfinite(sample.nll[metric][0]))
        response = np.maximum(sample.nll[metric], 1e-9)
        fit_first = fit_compute_law if sample.lacks_params_tokens() is not None else fit_params_tokens_law
        first: ComputeLaw | ParamsTokensLaw = fit_first(sample, response)
        second = fit_sigmoid(sample, response)
        width = first.parameters.shape[1]
        first_mean, first_sd = law_prior(first)
        mean, sd = np.concatenate([first_mean, second.prior_mean]), np.concatenate([first_sd, second.prior_sd])
        weight, points, target = np.sqrt(sample.weight), sample.points, np.log(response)
        nll_noise = residual_noise(np.log(first.value(points)) - target, sample.weight, NLL_NOISE)
        accuracy_noise = residual_noise(second.value(first.value(points)) - sample.accuracy, sample.weight, ACCURACY_NOISE)
        scale = weight / np.hypot(accuracy_noise[:, None], sample.sampling_sd[None, :])

        def residuals(theta: FloatArray) -> FloatArray:
            values = first.with_parameters(theta[:, :width]).value(points)
            accuracies = second.with_parameters(theta[:, width:]).value(values)
            return np.concatenate(
                [(np.log(values) - target) * weight / nll_noise[:, None], (accuracies - sample.accuracy) * scale], axis=1
            )

        start = np.concatenate([first.parameters, second.parameters], axis=1)
        theta = solve_batch(residuals, start, prior_mean=mean, prior_sd=sd, max_iterations=30).parameters
        return _FittedJoint(
            nll_metric=metric, first=first.with_parameters(theta[:, :width]), second=second.with_parameters(theta[:, width:])
        )


METHODS = (Joint(),)
