"""Random walk: accuracy stays where the largest runs left it, their noise smoothed away."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecast.core.observations import FloatArray
from forecast.forecasting.method import AccuracyOnly, Fitted
from forecast.forecasting.priors import ACCURACY_NOISE
from forecast.forecasting.sample import Points, Sample

STEP = 0.02
"""Standard deviation of the walk, in accuracy, over one unit of log C."""
LEAST_WEIGHT = 1e-3


@dataclass(frozen=True, kw_only=True)
class _Level(AccuracyOnly):
    at: FloatArray
    """(M,) log C of the rows."""
    start: FloatArray
    """(B,)."""
    loading: FloatArray
    """(B, M)."""

    def accuracy(self, points: Points) -> FloatArray:
        """(B, K): between the rows the smoothed level, beyond them the last one."""
        result: FloatArray = self.start[:, None] + self.loading @ _kernel(self.at, points.log_flops)
        return result


def _kernel(at: FloatArray, to: FloatArray) -> FloatArray:
    """(M, K) covariance of a walk that starts at the smallest run."""
    result: FloatArray = STEP**2 * np.maximum(0.0, np.minimum(at[:, None], to[None, :]) - at.min())
    return result


class RandomWalk:
    """The local level model (Harvey 1989, Forecasting, Structural Time Series Models, section 2.2.5) in log C.

    Beyond the runs it forecasts the smoothed level at the largest one: persistence without that run's noise.
    """

    name = "random-walk"
    summary = "the smoothed accuracy of the largest runs, repeated"

    def missing(self, sample: Sample) -> str | None:
        """Nothing is needed."""
        return None

    def fit(self, sample: Sample) -> Fitted:
        """Generalised least squares for the start, then the best linear predictor of the walk.

        Replicates differ by their accuracies; rows weigh as measured in all of them.
        """
        noise = (np.square(sample.sampling_sd) + ACCURACY_NOISE**2) / np.maximum(sample.weight[0], LEAST_WEIGHT)
        covariance = _kernel(sample.log_flops, sample.log_flops) + np.diag(noise)
        ones = np.linalg.solve(covariance, np.ones(len(sample)))
        start: FloatArray = sample.accuracy @ ones / ones.sum()
        loading: FloatArray = np.linalg.solve(covariance, (sample.accuracy - start[:, None]).T).T.astype(np.float64)
        return _Level(at=sample.log_flops, start=start, loading=loading)


METHODS = (RandomWalk(),)
