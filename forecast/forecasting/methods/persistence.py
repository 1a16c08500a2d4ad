"""Persistence: the largest run's last value, repeated. What every other method has to beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecast.core.observations import FloatArray
from forecast.forecasting.method import AccuracyOnly, Fitted
from forecast.forecasting.sample import Points, Sample


@dataclass(frozen=True, kw_only=True)
class _Repeated(AccuracyOnly):
    value: FloatArray

    def accuracy(self, points: Points) -> FloatArray:
        """The same value everywhere."""
        return np.repeat(self.value[:, None], points.log_flops.size, axis=1)


class Persistence:
    """y(C) = y(largest C seen)."""

    name = "persistence"
    summary = "the accuracy of the run with the most compute, repeated"

    def missing(self, sample: Sample) -> str | None:
        """Nothing is needed."""
        return None

    def fit(self, sample: Sample) -> Fitted:
        """Take the row with the most compute."""
        last = int(np.argmax(sample.log_flops))
        return _Repeated(value=sample.accuracy[:, last])


METHODS = (Persistence(),)
