"""Compare two families on one task: how much more compute B needs to equal A."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from forecast.core.errors import FitError, InputError, UsageError
from forecast.core.metrics import ACCURACY_METRICS
from forecast.core.observations import FloatArray
from forecast.laws import Binomial, LeastSquares, Loss, SoftValue, get_law
from forecast.laws.equivalence import Curve, Gain, fit_curve, gain_at, gain_curve
from forecast.workflows.measurements import Measurements, Notice, Selection, load_measurements
from forecast.workflows.options import check_level

_METRICS = (
    "loss",
    "bits_per_byte",
    "nll_per_byte",
    "nll_per_char",
    "nll_choice_norm",
    "nll_per_token",
    "acc_norm",
    "acc",
    "acc_bytes",
)
_CEILING = SoftValue(mean=1.0, sd=0.1)
"""Accuracies far from 1 do not determine their ceiling: it is pulled towards 1."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Compute-equivalent gain of A over B."""

    family_a: str
    family_b: str
    task: str
    metric: str
    law: str
    flops_convention: str
    level: float
    """Nominal coverage of the intervals."""
    common_low: float
    common_high: float
    """Levels of the metric that both reach."""
    gain: Gain
    """At the best level that both reach, or at the one that was asked for."""
    along: tuple[Gain, ...]
    """Over the common range."""
    verdict: str
    warnings: tuple[str, ...]


def compare_families(
    source: Path,
    family_a: str,
    family_b: str,
    selection: Selection,
    *,
    metric: str | None = None,
    at: float | None = None,
    level: float = 0.9,
    replicates: int = 1000,
    seed: int = 0,
    notice: Notice,
) -> Comparison:
    """Fit both families' curves over compute and compare them where both were measured.

    Raises:
        UsageError: the same family twice, an unknown metric or level.
        InputError: FLOPs of two conventions.
        FitError: no common range, or too few scales.
    """
    if family_a == family_b:
        raise UsageError(f"'{family_a}' is compared with itself", expected="two families")
    check_level(level)
    a = load_measurements(source, replace(selection, family=family_a), notice=notice)
    b = load_measurements(source, replace(selection, family=family_b), notice=lambda _text: None)
    if a.flops_convention != b.flops_convention:
        raise InputError(
            f"{family_a} counts FLOPs by '{a.flops_convention}', {family_b} by '{b.flops_convention}'",
            expected="one convention: their ratio would mean nothing",
            remedy="give both families' FLOPs by one convention",
        )
    if a.task != b.task:
        raise UsageError(f"{family_a} has {a.task}, {family_b} has {b.task}", remedy="choose one with --task")
    if set(a.members) != set(b.members):
        apart = sorted(set(a.members) ^ set(b.members))
        raise UsageError(
            f"{len(apart)} tasks of '{a.task}' are stored of one family only ({', '.join(apart[:4])})",
            expected="the same tasks of both",
            remedy="evaluate them, or compare on single tasks",
        )
    name = metric or next((m for m in _METRICS if m in a.columns and m in b.columns), None)
    if name is None:
        raise UsageError(f"{family_a} and {family_b} share no metric on {a.task}")
    curve_a, warned_a = _curve(a, name, replicates, seed)
    curve_b, warned_b = _curve(b, name, replicates, seed + 1)
    along = gain_curve(curve_a, curve_b, confidence=level)
    # The best level that both reach: the lowest loss, the highest accuracy.
    best = along[-1] if name in ACCURACY_METRICS or name == "p_gold" else along[0]
    gain = best if at is None else gain_at(curve_a, curve_b, at, confidence=level)
    warnings = [*warned_a, *warned_b]
    if a.flops_convention == "published":
        warnings.append("FLOPs are as published; whether both families counted alike is not known")
    return Comparison(
        family_a=family_a,
        family_b=family_b,
        task=a.task,
        metric=name,
        law=curve_a.result.law.name,
        flops_convention=a.flops_convention,
        level=level,
        common_low=along[0].level,
        common_high=along[-1].level,
        gain=gain,
        along=tuple(along),
        verdict=_verdict(gain, family_a, family_b),
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _verdict(gain: Gain, family_a: str, family_b: str) -> str:
    if gain.lo > 1:
        return f"{family_b} needs more compute than {family_a}"
    if gain.hi < 1:
        return f"{family_a} needs more compute than {family_b}"
    return "not told apart: the interval includes equal compute"


def _curve(data: Measurements, metric: str, replicates: int, seed: int) -> tuple[Curve, list[str]]:
    y, flops = data.column(metric), data.column("flops")
    whole = np.isfinite(y) & np.isfinite(flops) & (flops > 0)
    data = data.take(np.flatnonzero(whole).tolist())
    y, flops = data.column(metric), data.column("flops")
    if len(data) == 0:
        raise FitError(f"{data.family} has no row with {metric} and FLOPs")
    warnings: list[str] = []
    fixed: dict[str, float] = {}
    soft: dict[str, SoftValue] = {}
    loss: Loss = LeastSquares()
    if metric in ACCURACY_METRICS or metric == "p_gold":
        law = get_law("sigmoid-compute")
        fixed, soft = {"floor": data.chance if np.isfinite(data.chance) else 0.0}, {"ceiling": _CEILING}
        if not np.isfinite(data.chance):
            warnings.append(f"{data.family}: chance is unknown; the floor is taken as 0")
        items = data.columns.get("n_items")
        if items is not None and np.all(np.isfinite(items)) and metric in ACCURACY_METRICS:
            loss = Binomial(items)
    else:
        law = get_law("power-law-offset")
        if len(np.unique(flops)) < 5:
            law = get_law("power-law")
            warnings.append(f"{data.family}: fewer than five scales, so without an irreducible term")
    curve = fit_curve(law, flops, y, loss=loss, runs=data.runs, fixed=fixed, soft=soft, replicates=replicates, seed=seed)
    _check_scatter(curve, y, data.family, warnings)
    return curve, warnings


def _check_scatter(curve: Curve, y: FloatArray, family: str, warnings: list[str]) -> None:
    """Say so where compute alone explains the metric badly: another mix of parameters and tokens, or noise."""
    gap = y - curve.result.predict(curve.result.points.x[:, 0])
    explained = 1.0 - float(np.var(gap)) / max(float(np.var(y)), 1e-300)
    if explained < 0.9:
        warnings.append(f"{family}: compute alone explains {100 * max(explained, 0.0):.0f} % of the variance of this metric")
