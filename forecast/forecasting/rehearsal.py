"""Rehearsals: the forecast repeated inside the runs at hand, fitted on the smaller ones and scored on the larger ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from forecast.core.observations import FloatArray
from forecast.forecasting.calibration import Evidence, Spread, worth
from forecast.forecasting.ensemble import Ensemble, MemberErrors, fit_members, member_weights, stillness
from forecast.forecasting.method import Fitted
from forecast.forecasting.nll_interval import log_evidence
from forecast.forecasting.registry import all_methods
from forecast.forecasting.replicates import resample
from forecast.forecasting.rolling_origin import distance, points_of, rolling_origins, run_ends
from forecast.forecasting.sample import IntArray, Points, Sample
from forecast.forecasting.spread import spread_of

BACKTEST_ORIGINS = 8
BACKTEST_REPLICATES = 12
"""Bootstrap replicates at an origin; only their variance is used there, which needs no tails."""
REACH = 2.0
"""Held-out runs further than this multiple of the furthest target say little about it and are not scored."""
LEAST_REACH = float(np.log(4.0))
"""Runs up to four times an origin's compute are scored even for a target near the runs: there would be no evidence without."""


@dataclass(frozen=True, kw_only=True)
class OriginScore:
    """What the ensemble would have said at one origin, and what was measured; K held-out runs."""

    log_flops: float
    """Compute of the largest run that was fitted."""
    distance: FloatArray
    """(K,) distance of each held-out run beyond that, in log C."""
    truth: FloatArray
    point: FloatArray
    """(K,) the ensemble's forecast, with weights learnt at the other origins."""
    persistence: FloatArray
    spread: Spread
    share: float
    """Runs fitted at this origin, of all runs."""
    window: Sample
    """The runs fitted."""
    points: Points
    """Where the held-out runs lie."""
    nll: Mapping[str, Evidence] = field(default_factory=dict)
    """Member with an NLL step -> its errors in log NLL."""

    @property
    def evidence(self) -> Evidence:
        """Errors in accuracy."""
        return Evidence(error=self.truth - self.point, spread=self.spread, share=self.share)


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
            window=self.window,
            points=self.points,
            nll={name: evidence for name, evidence in found.items() if evidence is not None},
        )


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """All origins of one ladder."""

    origins: Sequence[OriginScore]
    errors: Sequence[MemberErrors]
    """Errors of every member, which decide its weight in the forecast."""

    @property
    def evidence(self) -> list[Evidence]:
        """What each origin says about the stated spread."""
        return [origin.evidence for origin in self.origins]


def rehearse(
    sample: Sample, names: Sequence[str], points: Points, rng: np.random.Generator, *, at_most: int = BACKTEST_ORIGINS
) -> Rehearsal:
    """Repeat the forecast at origins inside the sample, each seeing only runs of at most its compute.

    Args:
        sample: data as measured.
        names: members; each origin uses those that its runs suffice for.
        points: what will be forecast: held-out runs more than twice as far away, in log C, are not scored.
        rng: source of everything random.
        at_most: number of origins.
    """
    reach = max(LEAST_REACH, REACH * float(np.max(distance(points, sample), initial=0.0)))
    fits = _fit_origins(sample, names, rng, reach=reach, at_most=at_most)
    errors = [fit.errors for fit in fits]
    origins = []
    for i, fit in enumerate(fits):
        # Weights learnt at the scored origin itself would favour the members that happened to be right there, and its
        # errors would look smaller than a forecast's.
        others, still = [*errors[:i], *errors[i + 1 :]], stillness(fit.window, fit.members)
        origins.append(fit.score(sample, member_weights(list(fit.members), others, still=still)))
    return Rehearsal(origins=origins, errors=errors)


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
