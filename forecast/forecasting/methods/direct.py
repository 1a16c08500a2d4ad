"""Direct laws: accuracy as a function of compute, or of N and D, with no NLL between."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecast.core.observations import FloatArray
from forecast.forecasting.discrepancy import Discrepancy, fit_discrepancy
from forecast.forecasting.method import AccuracyOnly, Fitted
from forecast.forecasting.sample import Points, Sample
from forecast.forecasting.scale_law import ScaleLaw, fit_accuracy_law
from forecast.laws import get_law


@dataclass(frozen=True, kw_only=True)
class _FittedDirect(AccuracyOnly):
    law: ScaleLaw
    discrepancy: Discrepancy

    def accuracy(self, points: Points) -> FloatArray:
        """(B, K)."""
        result: FloatArray = np.clip(self.law.value(points) + self.discrepancy.value(points), 0.0, 1.0)
        return result


@dataclass(frozen=True, kw_only=True)
class Direct:
    """accuracy = floor + (ceiling - floor) exp(-A C^-alpha), or with A N^-alpha + B D^-beta (the direct law of METHODS)."""

    name: str
    summary: str
    law: str
    """Name of a law from scale to accuracy."""

    def missing(self, sample: Sample) -> str | None:
        """N and D for the law in them."""
        return sample.lacks_params_tokens() if len(get_law(self.law).inputs) > 1 else None

    def fit(self, sample: Sample) -> Fitted:
        """Fit the law, then what it leaves over."""
        law = fit_accuracy_law(sample, self.law)
        return _FittedDirect(law=law, discrepancy=fit_discrepancy(sample, law.value(sample.points)))


METHODS = (
    Direct(name="direct", summary="accuracy as a law in compute", law="accuracy-compute"),
    Direct(name="direct-nd", summary="accuracy as a law in parameters and tokens", law="accuracy-scale"),
)
