"""One mixture of everything that foretells an accuracy: the ensemble of laws, the posterior over curves, and what joins them.

The laws of the ensemble are gradual. So it has the probability that the posterior gives to gradual curves, times what
back-tests inside the runs say for or against it; sudden and falling curves have the rest. Nothing is ever switched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from forecast.core.distribution import Distribution
from forecast.core.observations import FloatArray
from forecast.forecasting.curve_posterior import CurvePosterior, Curves, fit_curves
from forecast.forecasting.curve_priors import CurveKind
from forecast.forecasting.sample import Points, Sample

RESOLUTION = 0.01
"""A back-test's score is the probability stated for within one point of the truth: finer differences are sampling noise."""
LEAST_PROBABILITY = 4e-4
"""Added to that probability, so that a single miss never decides: what a uniform guess has, times .02."""
LEAST_LOG = -60.0
"""Log of a weight that is none."""
LEAST_SHARE = 1e-4
"""Curves of a kind that has less of the forecast are left out: no quantile that is shown would move."""
ORIGIN_SIZE, ORIGIN_DRAWS = 1000, 300
"""Curves in the prior sample, and kept, at a back-test's origin: only probabilities of a point's width are asked there."""
_TAIL = np.array([0.0, 0.0005, 0.001, 0.0015, 0.002, 0.003])
_KEPT = np.concatenate([_TAIL, np.linspace(0.005, 0.995, 199), 1.0 - _TAIL[::-1]])


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a mixture; weights are relative."""

    expected: Distribution
    log_weight: float


class Voice(Protocol):
    """Something beside the ensemble of laws that foretells the accuracies: curves, a smooth signal, other families."""

    def parts(self, points: Points, recipe_shift: float) -> Sequence[Part]:
        """One part a point, each allowing for a change of recipe of this standard deviation."""
        ...


def blend(parts: Sequence[Part]) -> Distribution:
    """Mix parts by their log weights.

    >>> half = [Part(expected=Distribution.from_samples([x]), log_weight=-3.0) for x in (0.2, 0.8)]
    >>> blend(half).probability_above(0.5)
    0.5
    """
    log_weight = np.array([part.log_weight for part in parts])
    return Distribution.mixture([part.expected for part in parts], np.exp(log_weight - log_weight.max()))


@dataclass(frozen=True, kw_only=True)
class CurveVoice:
    """Curves of one kind as a part of the forecast."""

    curves: Curves
    log_weight: float

    def parts(self, points: Points, recipe_shift: float) -> list[Part]:
        """What runs on these curves would measure."""
        drawn = self.curves.of_runs(points.log_flops)
        if recipe_shift > 0.0:
            drawn = np.clip(drawn + recipe_shift * np.random.default_rng(15).standard_normal((len(drawn), 1)), 0.0, 1.0)
        values = np.quantile(drawn, _KEPT, axis=0)
        return [Part(expected=Distribution(column, _KEPT), log_weight=self.log_weight) for column in values.T]


@dataclass(frozen=True, kw_only=True)
class Blend:
    """The ensemble's weight, and the voices beside it; without voices a forecast is the ensemble's alone."""

    log_weight: float = 0.0
    voices: Sequence[Voice] = ()

    def over(
        self, students: Sequence[Distribution | None], points: Points, recipe_shift: float = 0.0
    ) -> list[Distribution | None]:
        """Mix what the ensemble expects at the points with the voices; None stays None: there the ensemble lacks an input."""
        if not self.voices:
            return list(students)
        spoken = [voice.parts(points, recipe_shift) for voice in self.voices]
        return [
            None if own is None else blend([Part(expected=own, log_weight=self.log_weight), *others])
            for own, *others in zip(students, *spoken, strict=True)
        ]


def blend_with(posterior: CurvePosterior, gain: float, further: Sequence[Voice] = ()) -> Blend:
    """Weigh the ensemble against sudden and falling curves.

    Args:
        posterior: of the same runs.
        gain: log score of the ensemble over the posterior in back-tests.
        further: voices that bring their own weights, relative to 1 for ensemble and curves together.
    """
    log_weights = {kind: _log(posterior.probabilities[kind]) for kind in CurveKind}
    log_weights[CurveKind.GRADUAL] += gain
    total = float(np.logaddexp.reduce(list(log_weights.values())))
    voices = [
        CurveVoice(curves=posterior.curves[kind], log_weight=log_weights[kind] - total)
        for kind in (CurveKind.SUDDEN, CurveKind.FALLING)
        if log_weights[kind] - total > np.log(LEAST_SHARE)
    ]
    return Blend(log_weight=log_weights[CurveKind.GRADUAL] - total, voices=[*voices, *further])


def _log(probability: float) -> float:
    return max(LEAST_LOG, float(np.log(probability))) if probability > 0.0 else LEAST_LOG


@dataclass(frozen=True, kw_only=True)
class CurvesAtOrigin:
    """The posterior over curves as it was at one back-test's origin, and its log score against the ensemble there."""

    posterior: CurvePosterior
    gain: float
    """Mean over the held-out runs of log(ensemble's probability / posterior's) for within one point of the truth."""


def curves_at_origin(
    window: Sample, points: Points, truth: FloatArray, students: Sequence[Distribution | None]
) -> CurvesAtOrigin:
    """Fit the curves to an origin's runs, and score them beside the ensemble.

    Args:
        window: runs up to the origin.
        points: K held-out runs.
        truth: (K,) what they measured.
        students: what the ensemble expected.
    """
    posterior = fit_curves(window, size=ORIGIN_SIZE, draws=ORIGIN_DRAWS)
    near = np.zeros(truth.size)
    for kind, curves in posterior.curves.items():
        drawn = curves.of_runs(points.log_flops)
        near += posterior.probabilities[kind] * np.mean(np.abs(drawn - truth) <= RESOLUTION, axis=0)
    ratios = [
        np.log((own.probability_within(y - RESOLUTION, y + RESOLUTION) + LEAST_PROBABILITY) / (other + LEAST_PROBABILITY))
        for own, y, other in zip(students, truth, near, strict=True)
        if own is not None
    ]
    return CurvesAtOrigin(posterior=posterior, gain=float(np.mean(ratios)) if ratios else 0.0)
