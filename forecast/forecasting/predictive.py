"""The predictive distribution of an accuracy: fit, rehearse, weight, combine and scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from forecast.core.observations import FloatArray
from forecast.forecasting.calibration import DEGREES, Evidence, posterior_factor
from forecast.forecasting.ensemble import Ensemble, fit_members, member_weights, stillness, unsolved_fits
from forecast.forecasting.rehearsal import BACKTEST_ORIGINS, OriginScore, Rehearsal, rehearse
from forecast.forecasting.replicates import resample
from forecast.forecasting.sample import Points, Sample
from forecast.forecasting.spread import spread_of


@dataclass(frozen=True, kw_only=True)
class Predictive:
    """Student's t about `point` with standard deviation-like `scale`; K points."""

    point: FloatArray
    scale: FloatArray
    ensemble: Ensemble
    by_member: Mapping[str, FloatArray]
    origins: Sequence[OriginScore]
    elsewhere: Sequence[Sequence[Evidence]]
    """What back-tests on the family's other tasks say, one entry per task."""
    calibration: float
    """Factor by which the back-tests scale the model part of the spread."""
    unsolved: Mapping[str, float]
    """Member -> share of its fits that did not converge; they are left out."""
    validated: float
    """Furthest distance in log C at which a back-test could be made; 0 when none could."""

    def quantile(self, probability: float) -> FloatArray:
        """(K,) accuracy, within [0, 1]."""
        return quantile(self.point, self.scale, probability)


def quantile(point: FloatArray, scale: FloatArray, probability: float) -> FloatArray:
    """Quantile of the predictive distribution, clipped to [0, 1].

    >>> quantile(np.array([0.5]), np.array([0.02]), 0.5).tolist()
    [0.5]
    """
    from scipy import stats

    result: FloatArray = np.clip(point + scale * float(stats.t.ppf(probability, DEGREES)), 0.0, 1.0)
    return result


def calibrate_nll(origins: Sequence[OriginScore], member: str) -> float:
    """Factor on the model part of the spread of one member's NLL step.

    >>> calibrate_nll([], "two-step")
    1.0
    """
    return posterior_factor([origin.nll[member] for origin in origins if member in origin.nll])


def predict_points(
    sample: Sample,
    points: Points,
    names: Sequence[str],
    *,
    replicates: int,
    rng: np.random.Generator,
    rehearsal: Rehearsal | None = None,
    elsewhere: Sequence[Sequence[Evidence]] = (),
    origins_at_most: int = BACKTEST_ORIGINS,
) -> Predictive:
    """Fit, weight and combine the named methods, and predict K points.

    Args:
        sample: data as measured.
        points: where to predict.
        names: members that the sample suffices for.
        replicates: bootstrap replicates, the first being the data.
        rng: source of everything random.
        rehearsal: of the same sample, names and points; made here if None.
        elsewhere: evidence from the rehearsals of the family's other tasks, one entry per task.
        origins_at_most: back-test origins inside the sample, if the rehearsal is made here.
    """
    if rehearsal is None:
        rehearsal = rehearse(sample, names, points, rng, at_most=origins_at_most)
    members = fit_members(resample(sample, replicates, rng), names)
    weights = member_weights(names, rehearsal.errors, still=stillness(sample, members))
    ensemble = Ensemble(members=members, weights=weights)
    by_member, at_runs = ensemble.by_member(points), ensemble.by_member(sample.points)
    calibration = posterior_factor(rehearsal.evidence, elsewhere)
    return Predictive(
        point=ensemble.combine(by_member)[0],
        scale=spread_of(ensemble, sample, points, by_member, at_runs).scale(calibration),
        ensemble=ensemble,
        by_member=by_member,
        origins=rehearsal.origins,
        elsewhere=elsewhere,
        calibration=calibration,
        unsolved=unsolved_fits(at_runs),
        validated=max((float(o.distance.max()) for o in rehearsal.origins), default=0.0),
    )
