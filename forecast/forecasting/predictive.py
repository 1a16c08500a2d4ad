"""The predictive distribution of an accuracy: how wide, from what the bootstrap, the members, the data and the gain say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from forecast.core.observations import FloatArray
from forecast.forecasting.ensemble import Ensemble, fit_members, member_weights
from forecast.forecasting.nll_interval import log_ratio
from forecast.forecasting.registry import all_methods
from forecast.forecasting.replicates import resample
from forecast.forecasting.rolling_origin import SAME_SIZE, distance, points_of, rolling_origins, run_ends
from forecast.forecasting.sample import IntArray, Points, Sample

# Variance components of the raw scale. Fitted once by maximum likelihood to the rolling-origin errors inside published
# ladders of three suites, each suite also left out in turn (docs/forecasting.md); rounded, for the likelihood is flat.
BOOTSTRAP, DISAGREEMENT, SCATTER, GAIN, SAMPLING = 1.0, 0.1, 0.4, 0.04, 0.8
PER_LOG_FLOPS = 3e-5
CONSTANT = 3e-6
DEGREES = 5.0
"""Of Student's t: some benchmarks jump, so errors have heavy tails."""
PRIOR_ORIGINS = 2.0
"""How many back-test origins the raw scale counts for."""
LARGEST_RATIO = 4.0
"""A single back-test error counts for at most so many raw scales."""
BACKTEST_ORIGINS = 8
BACKTEST_REPLICATES = 12
REACH = 2.0
"""Held-out runs further than this multiple of the furthest target say little about it and are not scored."""
LEAST_REACH = float(np.log(4.0))


@dataclass(frozen=True, kw_only=True)
class OriginScore:
    """What the members would have said at one origin, and what was measured; K held-out runs."""

    log_flops: float
    """Compute of the largest run that was fitted."""
    distance: FloatArray
    """(K,) of each held-out run beyond that, in log C."""
    truth: FloatArray
    by_member: Mapping[str, FloatArray]
    point: FloatArray
    """Of the ensemble, with the weights it has before any back-test."""
    persistence: FloatArray
    raw_scale: FloatArray
    share: float
    """Runs fitted at this origin, of all runs."""
    nll_ratio: Mapping[str, float] = field(default_factory=dict)
    """Member with an NLL step -> mean of |log NLL error| / its raw scale."""

    @property
    def ratio(self) -> float:
        """Mean of |error| / raw scale."""
        return float(np.mean(np.minimum(np.abs(self.truth - self.point) / self.raw_scale, LARGEST_RATIO)))


@dataclass(frozen=True, kw_only=True)
class Predictive:
    """Student's t about `point` with standard deviation-like `scale`; K points."""

    point: FloatArray
    scale: FloatArray
    ensemble: Ensemble
    by_member: Mapping[str, FloatArray]
    origins: Sequence[OriginScore]
    calibration: float
    """Factor on the raw scale that the back-tests ask for."""
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


def raw_scale(ensemble: Ensemble, sample: Sample, points: Points, by_member: Mapping[str, FloatArray]) -> FloatArray:
    """(K,) scale before calibration: the root of a sum of variances.

    sigma^2 = bootstrap^2 + .1 disagreement^2 + .4 scatter^2 + .04 gain^2 + .8 sampling^2 + 3e-5 ln(C/C_max) + 3e-6,
    gain = forecast minus the law at the largest run, beyond it. The target's sampling error counts in part, for it answers the
    same items as the runs did. Fitted scatter is too small by what the law absorbs, hence its share.
    """
    predictions = ensemble.combine(by_member)
    own = ensemble.accuracy(sample.points)[0]
    ends = run_ends(sample)
    weight = sample.weight[0]
    residual = own - sample.accuracy[0]
    scatter = np.sum(weight * np.square(residual)) / np.sum(weight)
    beyond = distance(points, sample)
    gain = np.where(beyond > 0, predictions[0] - own[ends[-1]], 0.0)
    at_end = sample.accuracy[0][ends[-1]]
    items = max(at_end * (1 - at_end), 0.01) / sample.sampling_sd[ends[-1]] ** 2
    sampling = np.clip(predictions[0] * (1 - predictions[0]), 0.01, None) / items
    variance = (
        BOOTSTRAP * np.var(predictions, axis=0)
        + DISAGREEMENT * np.square(ensemble.disagreement(by_member))
        + SCATTER * scatter
        + GAIN * np.square(gain)
        + SAMPLING * sampling
        + PER_LOG_FLOPS * beyond
        + CONSTANT
    )
    result: FloatArray = np.sqrt(variance)
    return result


def score_origins(
    sample: Sample,
    names: Sequence[str],
    rng: np.random.Generator,
    *,
    reach: float = np.inf,
    at_most: int = BACKTEST_ORIGINS,
    by_size: bool = False,
) -> list[OriginScore]:
    """Back-test inside the sample: at each origin the members see only runs of at most its compute, or of its size.

    Held-out runs further than `reach` in log C beyond the origin are not scored.
    """
    scores = []
    methods = all_methods()
    for origin in rolling_origins(sample, at_most=at_most, by_size=by_size):
        window = sample.rows(origin.fitted)
        able = [name for name in names if methods[name].missing(window) is None]
        if not able:
            continue
        held = origin.held[sample.log_flops[origin.held] - origin.log_flops <= reach]
        if held.size == 0:
            continue
        replicates = resample(window, BACKTEST_REPLICATES, rng)
        ensemble = Ensemble(members=fit_members(replicates, able), weights=member_weights(able, {}))
        points = points_of(sample, held)
        by_member = ensemble.by_member(points)
        last = run_ends(window)[-1]
        scores.append(
            OriginScore(
                log_flops=origin.log_flops,
                distance=distance(points, window),
                truth=sample.accuracy[0][held],
                by_member={name: values[0] for name, values in by_member.items()},
                point=ensemble.combine(by_member)[0],
                persistence=np.full(held.size, window.accuracy[0][last]),
                raw_scale=raw_scale(ensemble, window, points, by_member),
                share=window.n_runs / sample.n_runs,
                nll_ratio=_nll_ratios(ensemble, window, sample, held),
            )
        )
    return scores


def _nll_ratios(ensemble: Ensemble, window: Sample, sample: Sample, held: IntArray) -> dict[str, float]:
    found = {name: log_ratio(fitted, window, sample, held, largest=LARGEST_RATIO) for name, fitted in ensemble.members.items()}
    return {name: ratio for name, ratio in found.items() if ratio is not None}


def calibrate(origins: Sequence[OriginScore]) -> float:
    """Factor on the raw scale: mean of 1, counted `PRIOR_ORIGINS` times, and of each origin's mean |error| / raw scale.

    An origin counts as the square of its share of the runs: the later ones are what the forecast itself is like. The
    mean of |t| with 5 degrees of freedom is 0.95, so a well-scaled forecast gets a factor of about 1.

    >>> calibrate([])
    1.0
    """
    return _shrunken([origin.ratio for origin in origins], [origin.share**2 for origin in origins])


def calibrate_nll(origins: Sequence[OriginScore], member: str) -> float:
    """The same factor for one member's NLL step.

    >>> calibrate_nll([], "two-step")
    1.0
    """
    scored = [origin for origin in origins if member in origin.nll_ratio]
    return _shrunken([origin.nll_ratio[member] for origin in scored], [origin.share**2 for origin in scored])


def _shrunken(ratios: Sequence[float], weights: Sequence[float]) -> float:
    total = PRIOR_ORIGINS + sum(weight * ratio for weight, ratio in zip(weights, ratios, strict=True))
    return float(total / (PRIOR_ORIGINS + sum(weights)))


def _of_a_new_size(sample: Sample, points: Points) -> bool:
    """Whether a target is larger than every run on a grid of N and D: there, origins in C hide too little.

    Where every run has its own size, in the order of compute, hiding compute hides sizes already.
    """
    ends = run_ends(sample)
    grid = bool((np.diff(sample.log_params[ends]) <= SAME_SIZE).any())
    return grid and bool((points.log_params > sample.log_params.max()).any())


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
    origins = score_origins(sample, names, rng, reach=reach, at_most=origins_at_most)
    alike = origins
    if _of_a_new_size(sample, points):
        alike = score_origins(sample, names, rng, reach=reach, at_most=origins_at_most, by_size=True) or origins
    errors = {
        name: np.array([np.sqrt(np.mean(np.square(o.by_member[name] - o.truth))) for o in origins if name in o.by_member])
        for name in names
    }
    ensemble = Ensemble(
        members=fit_members(resample(sample, replicates, rng), names),
        weights=member_weights(names, errors),
    )
    by_member = ensemble.by_member(points)
    calibration = calibrate(alike)
    return Predictive(
        point=ensemble.combine(by_member)[0],
        scale=calibration * raw_scale(ensemble, sample, points, by_member),
        ensemble=ensemble,
        by_member=by_member,
        origins=origins,
        calibration=calibration,
        validated=max((float(o.distance.max()) for o in origins), default=0.0),
    )
