"""Both steps in one likelihood: the NLL that the sigmoid reads is the law's, not a noisy measurement of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from forecast.core.metrics import TEXT_METRICS
from forecast.core.observations import FloatArray
from forecast.forecasting.link import Link, fit_link
from forecast.forecasting.method import Fitted
from forecast.forecasting.methods.two_step import TwoStep
from forecast.forecasting.priors import ACCURACY_NOISE, RELATIVE_NOISE
from forecast.forecasting.sample import Points, Sample
from forecast.forecasting.scale_law import ScaleLaw, fit_smooth_law
from forecast.laws.replicate_fit import LEAST_VALUE, residual_scatter
from forecast.laws.replicate_solver import solve_replicates


@dataclass(frozen=True, kw_only=True)
class _FittedJoint:
    nll_metric: str | None
    first: ScaleLaw
    second: Link

    def nll(self, points: Points) -> FloatArray:
        """(B, K)."""
        return self.first.value(points)

    def accuracy_of_nll(self, nll: FloatArray) -> FloatArray:
        """(B, K)."""
        return self.second.value(nll)

    def accuracy(self, points: Points) -> FloatArray:
        """(B, K)."""
        return self.second.value(self.first.value(points))


class Joint:
    """max over theta, phi of sum log p(NLL | law_theta) + log p(accuracy | sigmoid_phi(law_theta)) + log priors."""

    name = "joint"
    summary = "both steps fitted in one likelihood"
    _steps = TwoStep(name="two-step", summary="", metrics=(*TEXT_METRICS, "nll_choice_norm", "loss"))

    def missing(self, sample: Sample) -> str | None:
        """Say what is missing, by the rules of the two-step method."""
        return self._steps.missing(sample)

    def fit(self, sample: Sample) -> Fitted:
        """Start from the two steps fitted apart, then move all parameters together."""
        metric = self._steps.metric_of(sample)
        assert metric is not None, "ask `missing` first"
        sample = sample.rows(np.isfinite(sample.nll[metric][0]))
        response = np.maximum(sample.nll[metric], LEAST_VALUE)
        first = fit_smooth_law(sample, response, self._steps.laws_for(sample)[-1])
        return self._together(sample, response, metric, first, fit_link(sample, response))

    @staticmethod
    def _together(sample: Sample, response: FloatArray, metric: str, first: ScaleLaw, second: Link) -> Fitted:
        law, link = first.fit.coordinates, second.fit.coordinates
        width = first.fit.u.shape[1]
        x = first.columns(sample.points)
        weight, target = np.sqrt(sample.weight), np.log(response)
        values = law.value(x, first.fit.u)
        nll_noise = residual_scatter(np.log(values) - target, sample.weight, RELATIVE_NOISE)
        accuracies = link.value(values[..., None], second.fit.u)
        accuracy_noise = residual_scatter(accuracies - sample.accuracy, sample.weight, ACCURACY_NOISE)
        scale = weight / np.hypot(accuracy_noise[:, None], sample.sampling_sd[None, :])
        log_scale = weight / nll_noise[:, None]

        def residuals(u: FloatArray) -> FloatArray:
            values = law.value(x, u[:, :width])
            accuracies = link.value(values[..., None], u[:, width:])
            return np.concatenate([(np.log(values) - target) * log_scale, (accuracies - sample.accuracy) * scale], axis=1)

        def jacobian(u: FloatArray) -> FloatArray:
            values = law.value(x, u[:, :width])
            of_first = law.jacobian(x, u[:, :width])
            # The accuracies move with step 1 through the sigmoid's slope, and with the sigmoid's own parameters.
            through = link.law.slope(values[..., None], link.theta(u[:, width:]))[..., None] * of_first
            of_second = link.jacobian(values[..., None], u[:, width:])
            upper = np.concatenate([of_first / values[..., None], np.zeros_like(of_second)], axis=2)
            lower = np.concatenate([through, of_second], axis=2)
            return np.concatenate([upper * log_scale[..., None], lower * scale[..., None]], axis=1)

        found = solve_replicates(
            residuals,
            jacobian,
            np.concatenate([first.fit.u, second.fit.u], axis=1),
            prior_mean=np.concatenate([law.mean, link.mean]),
            prior_sd=np.concatenate([law.sd, link.sd]),
        )
        fitted_first = replace(first.fit, u=found.u[:, :width], converged=found.converged)
        fitted_second = replace(second.fit, u=found.u[:, width:], converged=found.converged)
        return _FittedJoint(nll_metric=metric, first=replace(first, fit=fitted_first), second=Link(fit=fitted_second))


METHODS = (Joint(),)
