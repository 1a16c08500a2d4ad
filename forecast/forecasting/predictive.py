"""The predictive distribution of an accuracy: fit, rehearse, weight, combine and scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from forecast.core.distribution import Distribution
from forecast.core.observations import FloatArray
from forecast.forecasting.blending import Blend, Voice, blend_with, curves_at_origin
from forecast.forecasting.calibration import DEGREES, Evidence, posterior_factor, worth
from forecast.forecasting.curve_posterior import fit_curves
from forecast.forecasting.ensemble import Ensemble, fit_members, member_weights, stillness, unsolved_fits
from forecast.forecasting.rehearsal import BACKTEST_ORIGINS, OriginScore, Rehearsal, rehearse
from forecast.forecasting.replicates import resample
from forecast.forecasting.sample import Points, Sample
from forecast.forecasting.spread import spread_of


@dataclass(frozen=True, kw_only=True)
class Predictive:
    """What is expected at K points, and what it rests on."""

    point: FloatArray
    """(K,) medians of the distributions; NaN where no member has a number."""
    distributions: Sequence[Distribution | None]
    """One a point; None where no member has a number."""
    ensemble: Ensemble
    by_member: Mapping[str, FloatArray]
    blend: Blend
    """How the ensemble is mixed with the posterior over curves."""
    origins: Sequence[OriginScore]
    rehearsed: Sequence[Sequence[Distribution | None]]
    """One entry per origin: what would have been expected of its held-out runs, weighed and scaled by the other origins."""
    elsewhere: Sequence[Sequence[Evidence]]
    """What back-tests on the family's other tasks say, one entry per task."""
    calibration: float
    """Factor by which the back-tests scale the model part of the spread."""
    unsolved: Mapping[str, float]
    """Member -> share of its fits that did not converge; they are left out."""
    validated: float
    """Furthest distance in log C at which a back-test could be made; 0 when none could."""

    def at(self, k: int) -> Distribution:
        """The distribution at a point where members have numbers."""
        found = self.distributions[k]
        assert found is not None, "`point` says where there is none"
        return found


def quantiles_of(distributions: Sequence[Distribution | None], probability: float) -> FloatArray:
    """(K,) quantiles; NaN where there is no distribution."""
    return np.array([np.nan if found is None else found.quantile(probability) for found in distributions])


def distributions_at(
    ensemble: Ensemble,
    sample: Sample,
    points: Points,
    by_member: Mapping[str, FloatArray],
    *,
    calibration: float,
    mixed: Blend,
    at_runs: Mapping[str, FloatArray] | None = None,
    recipe_shift: float = 0.0,
) -> list[Distribution | None]:
    """What accuracy is expected at the points: Student's t about the ensemble's mean, within [0, 1], mixed with the curves.

    Every forecast and band is made here; None where no member has a number.
    """
    center = ensemble.combine(by_member)[0]
    scale = np.hypot(spread_of(ensemble, sample, points, by_member, at_runs).scale(calibration), recipe_shift)
    return mixed.over(student(center, scale), points, recipe_shift)


def student(center: FloatArray, scale: FloatArray) -> list[Distribution | None]:
    """Student's t of a forecast's degrees of freedom about each center, within [0, 1].

    >>> [found.median for found in student(np.array([0.5]), np.array([0.02])) if found]
    [0.5]
    """
    known = np.isfinite(center) & np.isfinite(scale)
    return [
        Distribution.from_student(float(c), float(s), DEGREES) if ok else None
        for c, s, ok in zip(center, scale, known, strict=True)
    ]


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
    recipe_shift: float = 0.0,
    with_curves: bool = True,
    voices: Sequence[Voice] = (),
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
        recipe_shift: standard deviation of what another recipe may move the points by, as a fraction.
        with_curves: whether the posterior over curves is a part of the forecast; not where a single law is asked for by name.
        voices: what else is a part of it.
    """
    if rehearsal is None:
        rehearsal = rehearse(sample, names, points, rng, at_most=origins_at_most)
    members = fit_members(resample(sample, replicates, rng), names)
    weights = member_weights(names, rehearsal.errors, still=stillness(sample, members))
    ensemble = Ensemble(members=members, weights=weights)
    by_member, at_runs = ensemble.by_member(points), ensemble.by_member(sample.points)
    calibration = posterior_factor(rehearsal.evidence, elsewhere)
    mixed, rehearsed = _weigh(sample, rehearsal, elsewhere, with_curves=with_curves, voices=voices)
    distributions = distributions_at(
        ensemble, sample, points, by_member, calibration=calibration, mixed=mixed, at_runs=at_runs, recipe_shift=recipe_shift
    )
    return Predictive(
        point=quantiles_of(distributions, 0.5),
        distributions=distributions,
        ensemble=ensemble,
        by_member=by_member,
        blend=mixed,
        origins=rehearsal.origins,
        rehearsed=rehearsed,
        elsewhere=elsewhere,
        calibration=calibration,
        unsolved=unsolved_fits(at_runs),
        validated=max((float(o.distance.max()) for o in rehearsal.origins), default=0.0),
    )


def _weigh(
    sample: Sample,
    rehearsal: Rehearsal,
    elsewhere: Sequence[Sequence[Evidence]],
    *,
    with_curves: bool,
    voices: Sequence[Voice],
) -> tuple[Blend, list[list[Distribution | None]]]:
    """The mixture's weights by all origins, and what each origin would have expected by the others."""
    origins = rehearsal.origins
    students = []
    for i, origin in enumerate(origins):
        others = [other.evidence for other in (*origins[:i], *origins[i + 1 :])]
        students.append(student(origin.point, origin.spread.scale(posterior_factor(others, elsewhere))))
    if not with_curves:
        return Blend(voices=voices), students
    then = [
        curves_at_origin(origin.window, origin.points, origin.truth, expected)
        for origin, expected in zip(origins, students, strict=True)
    ]
    gains = [worth(origin.share) * past.gain for origin, past in zip(origins, then, strict=True)]
    rehearsed = [
        blend_with(past.posterior, sum(gains) - gain).over(expected, origin.points)
        for origin, past, gain, expected in zip(origins, then, gains, students, strict=True)
    ]
    return blend_with(fit_curves(sample), sum(gains), voices), rehearsed
