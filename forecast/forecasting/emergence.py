"""When a benchmark starts to be solved: the compute at which accuracy leaves chance, and whether the jump is the metric's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecast.core.errors import NotForecastableError
from forecast.core.metrics import METRICS, MetricKind
from forecast.core.observations import FloatArray, Ladder
from forecast.forecasting.preparation import choose_metric, prepare
from forecast.forecasting.replicates import resample
from forecast.forecasting.rolling_origin import run_ends
from forecast.forecasting.sample import Points, Sample
from forecast.forecasting.scale_law import fit_accuracy_law

REPLICATES = 200
BEYOND_DECADES = 4.0
"""How far beyond the largest run the law is followed; a later crossing counts as not found."""
STEADY = 0.8
"""Rank correlation with compute from which a smooth metric improves steadily."""


@dataclass(frozen=True, kw_only=True)
class Emergence:
    """Training FLOPs at which accuracy exceeds chance by a margin."""

    metric: str
    margin: float
    """Accuracy above chance, as a fraction."""
    compute: float | None
    """Point estimate; None when censored."""
    lo: float
    hi: float | None
    """Central interval at `level`; None: no upper bound."""
    level: float
    censored: bool
    """The crossing lies beyond the largest run, so only `not_before` is known from data."""
    not_before: float | None
    """Largest training FLOPs at which a run was still within the margin of chance; None when all are above it."""
    smooth_metric: str | None
    metric_artefact: bool | None
    """Whether a smooth metric improves steadily while accuracy stays at chance; None when the data do not say."""
    sentence: str

    def __repr__(self) -> str:
        """The finding, in one line."""
        return f"<Emergence: {self.sentence}>"


def find_emergence(
    ladder: Ladder, *, margin: float = 0.05, level: float = 0.9, seed: int = 0, metric: str | None = None
) -> Emergence:
    """Locate the compute at which accuracy leaves chance, with a bootstrap interval and right-censoring.

    The direct law in C is fitted to every replicate and crossed with chance + margin. A crossing beyond the largest run
    is censored: the data then only say "not before".

    Raises:
        NotForecastableError: chance is unknown, or too few runs.
    """
    name = choose_metric(ladder, metric)
    sample = prepare(ladder, metric=name).sample
    if not np.isfinite(sample.chance):
        raise NotForecastableError(
            f"the chance level of {ladder.task} is unknown", remedy="state it with `chance=`, or in a column `chance`"
        )
    rng = np.random.default_rng(seed)
    replicates = resample(sample, REPLICATES, rng)
    law = fit_accuracy_law(replicates, "accuracy-compute")
    if not law.converged[0]:
        raise NotForecastableError(f"the law from compute to {name} of {ladder.task} could not be fitted to these runs")
    top = float(sample.log_flops.max())
    grid = np.linspace(float(sample.log_flops.min()) - np.log(10), top + BEYOND_DECADES * np.log(10), 600)
    nowhere = np.full(grid.size, np.nan)
    curves = law.value(Points(log_flops=grid, log_params=nowhere, log_tokens=nowhere))[law.converged]
    crossings = _first_above(curves, grid, sample.chance + margin)
    lo, hi = np.quantile(crossings, [(1 - level) / 2, (1 + level) / 2])
    ends = run_ends(sample)
    near = sample.accuracy[0][ends] < sample.chance + margin
    not_before = float(np.exp(sample.log_flops[ends][near].max())) if near.any() else None
    censored = bool(crossings[0] > top)
    smooth, artefact = _artefact(sample, margin)
    point = None if censored else float(np.exp(crossings[0]))
    return Emergence(
        metric=name,
        margin=margin,
        compute=point,
        lo=float(np.exp(lo)),
        hi=None if hi >= grid[-1] or censored else float(np.exp(hi)),
        level=level,
        censored=censored,
        not_before=not_before,
        smooth_metric=smooth,
        metric_artefact=artefact,
        sentence=_sentence(name, margin, point, float(np.exp(top)), smooth, artefact),
    )


def _first_above(curves: FloatArray, grid: FloatArray, bar: float) -> FloatArray:
    above = curves >= bar
    first = above.argmax(axis=1)
    result: FloatArray = np.where(above.any(axis=1), grid[first], grid[-1])
    return result


def _artefact(sample: Sample, margin: float) -> tuple[str | None, bool | None]:
    """Look at the runs that are still at chance: does a smooth metric move among them?"""
    from scipy import stats

    ends = run_ends(sample)
    still = ends[sample.accuracy[0][ends] < sample.chance + margin]
    smooth = [metric for metric in METRICS if metric.kind is MetricKind.SMOOTH and metric.name in sample.nll]
    for metric in sorted(smooth, key=lambda metric: metric.name != sample.nll_metric):
        name = metric.name
        values = sample.nll[name][0][still]
        if still.size < 4 or not np.isfinite(values).all() or np.ptp(values) == 0:
            continue
        rank = float(stats.spearmanr(sample.log_flops[still], values).statistic)
        better = -rank if metric.falls else rank
        return name, bool(better >= STEADY)
    return None, None


def _sentence(
    metric: str, margin: float, compute: float | None, largest: float, smooth: str | None, artefact: bool | None
) -> str:
    if compute is None:
        text = f"{metric} does not exceed chance by {100 * margin:g} points before {largest:.2g} FLOPs."
    else:
        text = f"{metric} exceeds chance by {100 * margin:g} points from about {compute:.2g} FLOPs."
    if artefact is True:
        text += (
            f" {smooth} improves steadily while accuracy is still at chance: the late start is the metric's, not the model's."
        )
    elif artefact is False:
        text += f" {smooth} does not improve steadily before that either."
    return text
