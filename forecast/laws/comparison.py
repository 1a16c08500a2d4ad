"""Two families on one metric: which law each is fitted with, at which tokens per parameter, and the gain between them.

Where parameters and tokens are known and the families differ in tokens per parameter, both are compared at one number of
them, by a law of parameters and tokens; otherwise by compute alone, with which training lengths count as efficiency.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from forecast.core.errors import FitError, UsageError
from forecast.core.metrics import ACCURACY_METRICS, BY_NAME
from forecast.core.observations import FloatArray
from forecast.laws.equivalence import Curve, Gain, Path, fit_curve, fit_path_curve, gain_at, gain_curve
from forecast.laws.law import SoftValue
from forecast.laws.losses import Binomial, LeastSquares, Loss
from forecast.laws.registry import get_law
from forecast.laws.training_lengths import TokensPerParam, common_ratio, mixed_lengths, tokens_per_param

_CEILING = SoftValue(mean=1.0, sd=0.1)
"""Accuracies far from 1 do not determine their ceiling: it is pulled towards 1."""
_SCALES_FOR_OFFSET = 5
"""With fewer scales an irreducible term is not determined."""
_EXPLAINED = 0.9
"""Share of the metric's variance below which compute alone is a poor description, and the user is told."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FamilyRuns:
    """One family's measurements of one metric; arrays of one length."""

    family: str
    metric: str
    y: FloatArray
    flops: FloatArray
    params: FloatArray | None
    """None, as `tokens`, unless every row states both."""
    tokens: FloatArray | None
    n_items: FloatArray | None
    """Items of each row, None where a row does not state them."""
    chance: float
    """NaN where unknown."""
    run: tuple[str, ...]

    @property
    def falls(self) -> bool:
        """Whether less is better."""
        return BY_NAME[self.metric].falls if self.metric in BY_NAME else True


@dataclass(frozen=True, kw_only=True, eq=False)
class Compared:
    """What comparing two families gave."""

    a: Curve
    b: Curve
    gain: Gain
    """At the best level that both reach, or at the one that was asked for."""
    along: tuple[Gain, ...]
    """Over the common range."""
    matched_at: float | None
    """Tokens per parameter at which both are compared; None where compute alone is."""
    compute_only: Gain | None
    """By compute alone over all rows, beside a matched gain."""
    ratios: tuple[TokensPerParam | None, TokensPerParam | None]
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """The two families' curves of one basis, with what they are compared by."""

    a: Curve
    b: Curve
    along: tuple[Gain, ...]
    gain: Gain


def compare_runs(a: FamilyRuns, b: FamilyRuns, *, at: float | None, level: float, replicates: int, seed: int) -> Compared:
    """Fit both families' curves and compare them where both were measured.

    Args:
        a: the family whose gain is wanted.
        b: the family it is compared with, on the same metric.
        at: level of the metric; None takes the best that both reach.
        level: nominal coverage of the intervals.
        replicates: of each bootstrap over runs.
        seed: of the bootstraps.

    Raises:
        UsageError: `at` is outside the common range.
        FitError: no common range, or too few scales.
    """
    warnings: list[str] = []
    ratios = tokens_per_param(a.params, a.tokens), tokens_per_param(b.params, b.tokens)
    ratio = common_ratio(*ratios)

    def compared(curve: Callable[[FamilyRuns, int], Curve]) -> _Pair:
        curve_a, curve_b = curve(a, seed), curve(b, seed + 1)
        along = tuple(gain_curve(curve_a, curve_b, confidence=level))
        # The best level that both reach: the lowest loss, the highest accuracy.
        best = along[0] if a.falls else along[-1]
        gain = best if at is None else gain_at(curve_a, curve_b, at, confidence=level)
        return _Pair(a=curve_a, b=curve_b, along=along, gain=gain)

    matched: _Pair | None = None
    if ratio is not None:
        try:
            matched = compared(lambda runs, seed: _path_curve(runs, ratio, replicates, seed))
        except FitError as error:
            warnings.append(f"The families cannot be compared at one number of tokens per parameter: {error}")
    over_all: _Pair | None = None
    try:
        over_all = compared(lambda runs, seed: _compute_curve(runs, replicates, seed, [] if matched else warnings))
    except (FitError, UsageError):  # Usage: a level that only the matched curves reach.
        if matched is None:
            raise
    pair = matched or over_all
    assert pair is not None
    if matched is None:
        warnings += mixed_lengths(a.family, b.family, *ratios)
    return Compared(
        a=pair.a,
        b=pair.b,
        gain=pair.gain,
        along=pair.along,
        matched_at=ratio if matched else None,
        compute_only=over_all.gain if matched and over_all else None,
        ratios=ratios,
        warnings=tuple(warnings),
    )


def verdict(gain: Gain, family_a: str, family_b: str) -> str:
    """Say in a sentence whether the interval tells the families apart."""
    if gain.lo > 1:
        return f"{family_b} needs more compute than {family_a}"
    if gain.hi < 1:
        return f"{family_a} needs more compute than {family_b}"
    return "not told apart: the interval includes equal compute"


def _accuracy_options(runs: FamilyRuns) -> tuple[dict[str, float], dict[str, SoftValue], Loss]:
    """What is held, what is pulled, and the loss, where a rising fraction is fitted."""
    counted = runs.n_items is not None and runs.metric in ACCURACY_METRICS
    loss: Loss = Binomial(runs.n_items) if counted and runs.n_items is not None else LeastSquares()
    return {"floor": runs.chance if np.isfinite(runs.chance) else 0.0}, {"ceiling": _CEILING}, loss


def _path_curve(runs: FamilyRuns, ratio: float, replicates: int, seed: int) -> Curve:
    assert runs.params is not None
    assert runs.tokens is not None
    per_token = float(np.exp(np.median(np.log(runs.flops / (runs.params * runs.tokens)))))
    fixed: dict[str, float] = {}
    soft: dict[str, SoftValue] = {}
    loss: Loss = LeastSquares()
    law = get_law("chinchilla")
    if not runs.falls:
        law = get_law("accuracy-scale")
        fixed, soft, loss = _accuracy_options(runs)
    return fit_path_curve(
        law,
        runs.params,
        runs.tokens,
        runs.y,
        path=Path(tokens_per_param=ratio, flops_per_param_token=per_token),
        loss=loss,
        runs=runs.run,
        fixed=fixed,
        soft=soft,
        replicates=replicates,
        seed=seed,
    )


def _compute_curve(runs: FamilyRuns, replicates: int, seed: int, warnings: list[str]) -> Curve:
    fixed: dict[str, float] = {}
    soft: dict[str, SoftValue] = {}
    loss: Loss = LeastSquares()
    if not runs.falls:
        law = get_law("sigmoid-compute")
        fixed, soft, loss = _accuracy_options(runs)
        if not np.isfinite(runs.chance):
            warnings.append(f"{runs.family}: chance is unknown; the floor is taken as 0")
    else:
        law = get_law("power-law-offset")
        if len(np.unique(runs.flops)) < _SCALES_FOR_OFFSET:
            law = get_law("power-law")
            warnings.append(f"{runs.family}: fewer than five scales, so without an irreducible term")
    curve = fit_curve(
        law, runs.flops, runs.y, loss=loss, runs=runs.run, fixed=fixed, soft=soft, replicates=replicates, seed=seed
    )
    gap = runs.y - curve.result.predict(runs.flops)
    explained = 1.0 - float(np.var(gap)) / max(float(np.var(runs.y)), 1e-300)
    if explained < _EXPLAINED:
        share = 100 * max(explained, 0.0)
        warnings.append(f"{runs.family}: compute alone explains {share:.0f} % of the variance of this metric")
    return curve
