"""Compare two families on one task: how much more compute B needs to equal A."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from forecast.api.options import check_level
from forecast.core.errors import FitError, InputError, UsageError
from forecast.core.metrics import ACCURACY_METRICS, BY_NAME
from forecast.core.observations import FloatArray
from forecast.laws import Binomial, LeastSquares, Loss, SoftValue, equivalence, get_law
from forecast.laws.equivalence import Curve, Gain, fit_curve, fit_path_curve, gain_at, gain_curve
from forecast.laws.quantities import ACCURACIES, LOSSES
from forecast.observations.law_columns import in_order
from forecast.observations.measurements import Measurements, Notice, Selection, load_measurements

_CEILING = SoftValue(mean=1.0, sd=0.1)
"""Accuracies far from 1 do not determine their ceiling: it is pulled towards 1."""
_SAME_RATIO = 1.1
"""Families whose tokens per parameter all lie within this factor were trained alike: compute alone compares them."""


@dataclass(frozen=True, kw_only=True)
class TokensPerParam:
    """Training tokens per parameter over a family's runs."""

    low: float
    median: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Compute-equivalent gain of A over B."""

    family_a: str
    family_b: str
    task: str
    num_fewshot: int | None
    """None: unknown."""
    metric: str
    chance: float | None
    """Accuracy of guessing, where accuracies are compared and it is known."""
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
    basis: str
    """`tokens-per-param`: both families at `matched_at` tokens per parameter, by a law of both; `compute`: by compute alone."""
    matched_at: float | None
    """Tokens per parameter at which both are compared; None where compute alone is."""
    tokens_per_param_a: TokensPerParam | None
    tokens_per_param_b: TokensPerParam | None
    compute_only: Gain | None
    """By compute alone over all rows, beside a matched gain: with it the families' training lengths count as efficiency."""
    verdict: str
    warnings: tuple[str, ...]

    def __repr__(self) -> str:
        """The gain with its interval and the verdict, in one line."""
        gain = f"{self.gain.ratio:.3g} times the compute of {self.family_a} ({self.gain.lo:.3g} to {self.gain.hi:.3g})"
        return f"<Comparison on {self.task}, {self.metric}: {self.family_b} needs {gain}; {self.verdict}>"


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """The two families' curves of one basis, with what they are compared by."""

    a: Curve
    b: Curve
    along: tuple[Gain, ...]
    gain: Gain


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
    """Fit both families' curves and compare them where both were measured.

    Where parameters and tokens are known and the families differ in tokens per parameter, both are compared at one number
    of them, by a law of parameters and tokens; else by compute alone, which is said.

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
    _check_alike(a, b)
    name = _metric(a, b, metric)
    a, b = _complete(a, name), _complete(b, name)
    warnings: list[str] = []
    ratios = tokens_per_param(a), tokens_per_param(b)

    def compared(curve: Callable[[Measurements, int], Curve]) -> _Pair:
        curve_a, curve_b = curve(a, seed), curve(b, seed + 1)
        along = tuple(gain_curve(curve_a, curve_b, confidence=level))
        # The best level that both reach: the lowest loss, the highest accuracy.
        best = along[0] if _falls(name) else along[-1]
        gain = best if at is None else gain_at(curve_a, curve_b, at, confidence=level)
        return _Pair(a=curve_a, b=curve_b, along=along, gain=gain)

    ratio = common_ratio(*ratios)
    matched: _Pair | None = None
    if ratio is not None:
        try:
            matched = compared(lambda data, seed: _path_curve(data, name, ratio, replicates, seed))
        except FitError as error:
            warnings.append(f"The families cannot be compared at one number of tokens per parameter: {error}")
    over_all: _Pair | None = None
    try:
        over_all = compared(lambda data, seed: _curve(data, name, replicates, seed, [] if matched else warnings))
    except FitError:
        if matched is None:
            raise
    pair = matched or over_all
    assert pair is not None
    if matched is None and _differ(*ratios):
        warnings.append(_mixed(family_a, family_b, *ratios))
    if a.flops_convention == "published":
        warnings.append("FLOPs are as published; whether both families counted alike is not known")
    return Comparison(
        family_a=family_a,
        family_b=family_b,
        task=a.task,
        num_fewshot=a.num_fewshot,
        metric=name,
        chance=a.chance if name in ACCURACY_METRICS and np.isfinite(a.chance) else None,
        law=pair.a.result.law.name,
        flops_convention=a.flops_convention,
        level=level,
        common_low=pair.along[0].level,
        common_high=pair.along[-1].level,
        gain=pair.gain,
        along=pair.along,
        basis="tokens-per-param" if matched else "compute",
        matched_at=ratio if matched else None,
        tokens_per_param_a=ratios[0],
        tokens_per_param_b=ratios[1],
        compute_only=over_all.gain if matched and over_all else None,
        verdict=_verdict(pair.gain, family_a, family_b),
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _check_alike(a: Measurements, b: Measurements) -> None:
    if a.flops_convention != b.flops_convention:
        raise InputError(
            f"{a.family} counts FLOPs by '{a.flops_convention}', {b.family} by '{b.flops_convention}'",
            expected="one convention: their ratio would mean nothing",
            remedy="give both families' FLOPs by one convention",
        )
    if a.task != b.task:
        raise UsageError(f"{a.family} has {a.task}, {b.family} has {b.task}", remedy="choose one with `task=`")
    if a.num_fewshot != b.num_fewshot:
        raise UsageError(
            f"{a.family} was measured on {a.task} with {a.num_fewshot} shots, {b.family} with {b.num_fewshot}",
            expected="the same shots of both",
            remedy="choose `num_fewshot=`",
        )
    if set(a.members) != set(b.members):
        apart = sorted(set(a.members) ^ set(b.members))
        raise UsageError(
            f"{len(apart)} tasks of '{a.task}' are stored of one family only ({', '.join(apart[:4])})",
            expected="the same tasks of both",
            remedy="evaluate them, or compare on single tasks",
        )


def _metric(a: Measurements, b: Measurements, metric: str | None) -> str:
    """The user's metric, else a loss that both have, else an accuracy; within a kind the card's first."""
    if metric is not None:
        return metric
    wanted = in_order((*LOSSES, *ACCURACIES), a.task)
    found = next((name for name in wanted if name in a.columns and name in b.columns), None)
    if found is None:
        raise UsageError(f"{a.family} and {b.family} share no metric on {a.task}")
    return found


def _falls(metric: str) -> bool:
    return BY_NAME[metric].falls if metric in BY_NAME else True


def _complete(data: Measurements, metric: str) -> Measurements:
    y, flops = data.column(metric), data.column("flops")
    found = data.take(np.flatnonzero(np.isfinite(y) & np.isfinite(flops) & (flops > 0)).tolist())
    if len(found) == 0:
        raise FitError(f"{data.family} has no row with {metric} and FLOPs")
    return found


def tokens_per_param(data: Measurements) -> TokensPerParam | None:
    """Training tokens per parameter over the rows, None where a row does not state both."""
    counted = _sizes(data)
    if counted is None:
        return None
    ratio = counted[1] / counted[0]
    return TokensPerParam(low=float(ratio.min()), median=float(np.median(ratio)), high=float(ratio.max()))


def _sizes(data: Measurements) -> tuple[FloatArray, FloatArray] | None:
    column = next((name for name in ("params", "params_non_embedding") if name in data.columns), None)
    if column is None or "tokens" not in data.columns:
        return None
    params, tokens = data.column(column), data.column("tokens")
    whole = np.isfinite(params) & np.isfinite(tokens) & (params > 0) & (tokens > 0)
    return (params, tokens) if whole.all() else None


def _differ(a: TokensPerParam | None, b: TokensPerParam | None) -> bool:
    """Whether runs of the two families may differ in tokens per parameter; unknown counts as no."""
    return a is not None and b is not None and max(a.high, b.high) > _SAME_RATIO * min(a.low, b.low)


def common_ratio(a: TokensPerParam | None, b: TokensPerParam | None) -> float | None:
    """Tokens per parameter to compare at: within both families' ranges, nearest to the middle of their medians.

    None where they are not known, do not differ, or have no value in common.
    """
    if a is None or b is None or not _differ(a, b):
        return None
    low, high = max(a.low, b.low), min(a.high, b.high)
    if low > high * _SAME_RATIO:
        return None
    return float(np.clip(np.sqrt(a.median * b.median), min(low, high), max(low, high)))


def _mixed(family_a: str, family_b: str, a: TokensPerParam | None, b: TokensPerParam | None) -> str:
    assert a is not None
    assert b is not None
    ranges = f"{family_a}: {a.low:.3g} to {a.high:.3g}, {family_b}: {b.low:.3g} to {b.high:.3g}"
    return f"Tokens per parameter differ ({ranges}), so this ratio is of training length as well as of efficiency"


def _verdict(gain: Gain, family_a: str, family_b: str) -> str:
    if gain.lo > 1:
        return f"{family_b} needs more compute than {family_a}"
    if gain.hi < 1:
        return f"{family_a} needs more compute than {family_b}"
    return "not told apart: the interval includes equal compute"


def _accuracy_options(data: Measurements, metric: str) -> tuple[dict[str, float], dict[str, SoftValue], Loss]:
    """What is held, what is pulled, and the loss, where a rising fraction is fitted."""
    items = data.columns.get("n_items")
    counted = items is not None and bool(np.all(np.isfinite(items))) and metric in ACCURACY_METRICS
    loss: Loss = Binomial(items) if counted and items is not None else LeastSquares()
    return {"floor": data.chance if np.isfinite(data.chance) else 0.0}, {"ceiling": _CEILING}, loss


def _path_curve(data: Measurements, metric: str, ratio: float, replicates: int, seed: int) -> Curve:
    sizes = _sizes(data)
    assert sizes is not None
    params, tokens = sizes
    per_token = float(np.exp(np.median(np.log(data.column("flops") / (params * tokens)))))
    fixed: dict[str, float] = {}
    soft: dict[str, SoftValue] = {}
    loss: Loss = LeastSquares()
    law = get_law("chinchilla")
    if not _falls(metric):
        law = get_law("accuracy-scale")
        fixed, soft, loss = _accuracy_options(data, metric)
    return fit_path_curve(
        law,
        params,
        tokens,
        data.column(metric),
        path=equivalence.Path(tokens_per_param=ratio, flops_per_param_token=per_token),
        loss=loss,
        runs=data.runs,
        fixed=fixed,
        soft=soft,
        replicates=replicates,
        seed=seed,
    )


def _curve(data: Measurements, metric: str, replicates: int, seed: int, warnings: list[str]) -> Curve:
    y, flops = data.column(metric), data.column("flops")
    fixed: dict[str, float] = {}
    soft: dict[str, SoftValue] = {}
    loss: Loss = LeastSquares()
    if not _falls(metric):
        law = get_law("sigmoid-compute")
        fixed, soft, loss = _accuracy_options(data, metric)
        if not np.isfinite(data.chance):
            warnings.append(f"{data.family}: chance is unknown; the floor is taken as 0")
    else:
        law = get_law("power-law-offset")
        if len(np.unique(flops)) < 5:
            law = get_law("power-law")
            warnings.append(f"{data.family}: fewer than five scales, so without an irreducible term")
    curve = fit_curve(law, flops, y, loss=loss, runs=data.runs, fixed=fixed, soft=soft, replicates=replicates, seed=seed)
    gap = y - curve.result.predict(flops)
    explained = 1.0 - float(np.var(gap)) / max(float(np.var(y)), 1e-300)
    if explained < 0.9:
        share = 100 * max(explained, 0.0)
        warnings.append(f"{data.family}: compute alone explains {share:.0f} % of the variance of this metric")
    return curve
