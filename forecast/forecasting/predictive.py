"""The predictive distribution of an accuracy: how wide, from what the bootstrap, the members, the data and the gain say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from forecast.core.observations import FloatArray
from forecast.forecasting.calibration import DEGREES, Evidence, Spread, posterior_factor, worth
from forecast.forecasting.ensemble import Ensemble, MemberErrors, fit_members, member_weights
from forecast.forecasting.method import Fitted
from forecast.forecasting.nll_interval import log_evidence
from forecast.forecasting.registry import all_methods
from forecast.forecasting.replicates import resample
from forecast.forecasting.rolling_origin import distance, points_of, rolling_origins, run_ends
from forecast.forecasting.sample import IntArray, Points, Sample

BOOTSTRAP = 0.5
"""Share of the ensemble's bootstrap variance that counts: reweighted runs move a curve more than new runs would."""
GAIN = 0.25
"""A law's own error, as a share of what it forecasts beyond the runs: all members may share one wrong ceiling."""
PER_LOG_FLOPS = 3e-6
"""Least variance of a law, per unit of log C beyond the runs: laws that agree and fit perfectly are not thereby true."""
SAMPLING = 0.8
"""Share of the target's sampling variance that is error: in part it answers the same items as the runs did."""
LEAST_VARIANCE = 0.01
"""Of a single answer, p (1 - p): a forecast of 0 or 1 is not certain."""
BACKTEST_ORIGINS = 8
BACKTEST_REPLICATES = 12
REACH = 2.0
"""Held-out runs further than this multiple of the furthest target say little about it and are not scored."""
LEAST_REACH = float(np.log(4.0))


@dataclass(frozen=True, kw_only=True)
class OriginScore:
    """What the ensemble would have said at one origin, and what was measured; K held-out runs."""

    log_flops: float
    """Compute of the largest run that was fitted."""
    distance: FloatArray
    """(K,) of each held-out run beyond that, in log C."""
    truth: FloatArray
    point: FloatArray
    """Of the ensemble, with weights from the other origins."""
    persistence: FloatArray
    spread: Spread
    share: float
    """Runs fitted at this origin, of all runs."""
    nll: Mapping[str, Evidence] = field(default_factory=dict)
    """Member with an NLL step -> its errors in log NLL."""

    @property
    def evidence(self) -> Evidence:
        """Errors in accuracy."""
        return Evidence(error=self.truth - self.point, spread=self.spread, share=self.share)


@dataclass(frozen=True, kw_only=True)
class Predictive:
    """Student's t about `point` with standard deviation-like `scale`; K points."""

    point: FloatArray
    scale: FloatArray
    ensemble: Ensemble
    by_member: Mapping[str, FloatArray]
    origins: Sequence[OriginScore]
    calibration: float
    """Factor on the model part of the spread that the back-tests ask for."""
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


def spread_of(ensemble: Ensemble, sample: Sample, points: Points, by_member: Mapping[str, FloatArray]) -> Spread:
    """Variances before calibration.

    model = disagreement^2 + .5 bootstrap^2 + misfit^2 + (gain / 4)^2 + 3e-6 ln(C / C_max), noise = .8 p (1 - p) / items.
    The first two are the law of total variance over members and replicates; misfit^2 is what even the best-fitting member
    leaves over at the runs, beyond sampling variance; gain is the forecast minus the law at the largest run, past that run.
    """
    predictions = ensemble.combine(by_member)
    last = run_ends(sample)[-1]
    at_runs = ensemble.by_member(sample.points)
    beyond = distance(points, sample)
    gain = np.where(beyond > 0, predictions[0] - ensemble.combine(at_runs)[0, last], 0.0)
    at_end = sample.accuracy[0][last]
    items = max(at_end * (1 - at_end), LEAST_VARIANCE) / sample.sampling_sd[last] ** 2
    return Spread(
        model=np.square(ensemble.disagreement(by_member))
        + BOOTSTRAP * np.var(predictions, axis=0)
        + _misfit(sample, at_runs)
        + np.square(GAIN * gain)
        + PER_LOG_FLOPS * beyond,
        noise=SAMPLING * np.clip(predictions[0] * (1 - predictions[0]), LEAST_VARIANCE, None) / items,
    )


def _misfit(sample: Sample, at_runs: Mapping[str, FloatArray]) -> float:
    weight = sample.weight[0] / np.sum(sample.weight[0])
    left_over = [float(np.nansum(weight * np.square(values[0] - sample.accuracy[0]))) for values in at_runs.values()]
    return max(0.0, min(left_over) - float(np.sum(weight * np.square(sample.sampling_sd))))


@dataclass(frozen=True, kw_only=True)
class _OriginFit:
    """The members fitted at one origin, before they are weighted."""

    log_flops: float
    window: Sample
    held: IntArray
    points: Points
    members: Mapping[str, Fitted]
    by_member: Mapping[str, FloatArray]
    truth: FloatArray
    share: float

    @property
    def errors(self) -> MemberErrors:
        square = {name: float(np.mean(np.square(values[0] - self.truth))) for name, values in self.by_member.items()}
        return MemberErrors(square=square, worth=worth(self.share))

    def score(self, sample: Sample, weights: Mapping[str, float]) -> OriginScore:
        ensemble = Ensemble(members=self.members, weights=weights)
        found = {name: log_evidence(fitted, self.window, sample, self.held) for name, fitted in self.members.items()}
        return OriginScore(
            log_flops=self.log_flops,
            distance=distance(self.points, self.window),
            truth=self.truth,
            point=ensemble.combine(self.by_member)[0],
            persistence=np.full(self.held.size, self.window.accuracy[0][run_ends(self.window)[-1]]),
            spread=spread_of(ensemble, self.window, self.points, self.by_member),
            share=self.share,
            nll={name: evidence for name, evidence in found.items() if evidence is not None},
        )


def _fit_origins(
    sample: Sample, names: Sequence[str], rng: np.random.Generator, *, reach: float, at_most: int
) -> list[_OriginFit]:
    """Back-test inside the sample: at each origin the members see only runs of at most its compute.

    Held-out runs further than `reach` in log C beyond the origin are not scored.
    """
    fits = []
    methods = all_methods()
    for origin in rolling_origins(sample, at_most=at_most):
        window = sample.rows(origin.fitted)
        able = [name for name in names if methods[name].missing(window) is None]
        held = origin.held[sample.log_flops[origin.held] - origin.log_flops <= reach]
        if not able or held.size == 0:
            continue
        members = fit_members(resample(window, BACKTEST_REPLICATES, rng), able)
        points = points_of(sample, held)
        fits.append(
            _OriginFit(
                log_flops=origin.log_flops,
                window=window,
                held=held,
                points=points,
                members=members,
                by_member=Ensemble(members=members, weights={}).by_member(points),
                truth=sample.accuracy[0][held],
                share=window.n_runs / sample.n_runs,
            )
        )
    return fits


def calibrate(origins: Sequence[OriginScore]) -> float:
    """Factor on the model part of the spread.

    >>> calibrate([])
    1.0
    """
    return posterior_factor([origin.evidence for origin in origins])


def calibrate_nll(origins: Sequence[OriginScore], member: str) -> float:
    """The same factor for one member's NLL step.

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
    origins_at_most: int = BACKTEST_ORIGINS,
) -> Predictive:
    """Fit, back-test, weight and combine the named methods, and predict K points.

    Args:
        sample: data as measured.
        points: where to predict.
        names: members that the sample can carry.
        replicates: bootstrap replicates, the first being the data.
        rng: source of everything random.
        origins_at_most: back-test origins inside the sample.
    """
    reach = max(LEAST_REACH, REACH * float(np.max(distance(points, sample), initial=0.0)))
    fits = _fit_origins(sample, names, rng, reach=reach, at_most=origins_at_most)
    errors = [fit.errors for fit in fits]
    origins = [
        fit.score(sample, member_weights(list(fit.members), [*errors[:i], *errors[i + 1 :]])) for i, fit in enumerate(fits)
    ]
    ensemble = Ensemble(members=fit_members(resample(sample, replicates, rng), names), weights=member_weights(names, errors))
    by_member = ensemble.by_member(points)
    calibration = calibrate(origins)
    return Predictive(
        point=ensemble.combine(by_member)[0],
        scale=spread_of(ensemble, sample, points, by_member).scale(calibration),
        ensemble=ensemble,
        by_member=by_member,
        origins=origins,
        calibration=calibration,
        validated=max((float(o.distance.max()) for o in origins), default=0.0),
    )
