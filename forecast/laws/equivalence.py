"""Compute-equivalent gain: how much compute one family needs to do what another does.

Each family has a fitted monotone law y(C); the gain of A over B at a level y is C_B(y) / C_A(y): above 1, B needs more compute.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from forecast.core.errors import FitError, UsageError
from forecast.core.observations import BoolArray
from forecast.laws.bootstrap import bootstrap, expanded_tail
from forecast.laws.law import FloatArray, Law, SoftValue
from forecast.laws.losses import Loss
from forecast.laws.result import FitResult
from forecast.laws.solver import fit

_GRID = 4001
"""Points at which replicates are inverted: steps of 0.01 in log C over twenty decades."""
_NEAR = float(np.log(2.0))
"""Runs within this of a path, in log tokens per parameter, say how far along it was measured."""
_REACH = 13.8
"""Six decades, as e-folds."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """A family's fitted law over its measured range of compute."""

    result: FitResult
    theta: FloatArray
    """(replicates, parameters)"""
    blocks: int
    low: float
    high: float
    """Least and most measured FLOPs."""
    path: Path | None = None
    """How a law of parameters and tokens is followed over compute; None for a law of compute itself."""

    def predict(self, flops: FloatArray, theta: FloatArray | None = None) -> FloatArray:
        """Level (..., rows) at training FLOPs (rows,), by the fitted parameters or by others (..., parameters)."""
        x = flops[:, None] if self.path is None else self.path.columns(flops)
        return np.asarray(self.result.law.predict(x, self.result.theta if theta is None else theta))

    def band(self, flops: FloatArray, confidence: float) -> tuple[FloatArray, FloatArray]:
        """Ends (rows,) of the fitted level's interval at training FLOPs (rows,), from the replicates."""
        tail = expanded_tail(confidence, self.blocks, len(self.result.free))
        with np.errstate(all="ignore"):
            drawn = self.predict(flops, self.theta)
        low, high = np.nanquantile(np.where(np.isfinite(drawn), drawn, np.nan), [tail, 1 - tail], axis=0)
        return low, high

    def level_range(self) -> tuple[float, float]:
        """Smallest and largest fitted level within the measured range."""
        ends = self.predict(np.array([self.low, self.high]))
        return float(np.min(ends)), float(np.max(ends))


@dataclass(frozen=True, kw_only=True)
class Path:
    """Models of one number of tokens per parameter: D = r N, C = k N D."""

    tokens_per_param: float
    flops_per_param_token: float

    def near(self, params: FloatArray, tokens: FloatArray) -> BoolArray:
        """Rows whose tokens per parameter are within a factor of two of the path's: they say how far along it was measured."""
        return np.asarray(np.abs(np.log(tokens / params / self.tokens_per_param)) <= _NEAR)

    def columns(self, flops: FloatArray) -> FloatArray:
        """Parameters and tokens (rows, 2) that spend training FLOPs (rows,)."""
        params = np.sqrt(flops / (self.flops_per_param_token * self.tokens_per_param))
        return np.stack([params, self.tokens_per_param * params], axis=-1)


@dataclass(frozen=True, kw_only=True)
class Gain:
    """Compute-equivalent gain of A over B at one level."""

    level: float
    """The metric's value."""
    flops_a: float
    flops_b: float
    ratio: float
    """C_B / C_A: how many times A's compute B needs."""
    lo: float
    hi: float


def fit_curve(
    law: Law,
    flops: FloatArray,
    y: FloatArray,
    *,
    loss: Loss,
    runs: Sequence[Hashable],
    fixed: Mapping[str, float],
    soft: Mapping[str, SoftValue],
    replicates: int,
    seed: int,
) -> Curve:
    """Fit one family's curve, with a bootstrap over its runs.

    Raises:
        FitError: too few distinct scales, or a curve that is flat over the measured range.
    """
    result = fit(law, flops, y, loss=loss, fixed=fixed, soft=soft, seed=seed)
    if len(np.unique(flops)) < len(result.free):
        raise FitError(f"{len(np.unique(flops))} scales cannot determine '{law.name}'", remedy="measure more checkpoints")
    drawn = bootstrap(result, replicates=replicates, blocks=runs, seed=seed)
    return _changing(
        Curve(result=result, theta=drawn.theta, blocks=drawn.blocks, low=float(np.min(flops)), high=float(np.max(flops)))
    )


def _changing(curve: Curve) -> Curve:
    bottom, top = curve.level_range()
    if not top - bottom > 1e-9 * max(abs(top), 1e-12):
        raise FitError("the measurements do not change with compute", expected="a metric that grows or falls with scale")
    return curve


def fit_path_curve(
    law: Law,
    params: FloatArray,
    tokens: FloatArray,
    y: FloatArray,
    *,
    path: Path,
    loss: Loss,
    runs: Sequence[Hashable],
    fixed: Mapping[str, float],
    soft: Mapping[str, SoftValue],
    replicates: int,
    seed: int,
) -> Curve:
    """Fit one family's law of parameters and tokens on all its runs, to be followed along one number of tokens per parameter.

    Its range of compute is that of the runs whose tokens per parameter are within a factor of two of the path's.

    Raises:
        FitError: fewer than two runs are near the path, or the runs do not determine the law.
    """
    near = path.near(params, tokens)
    flops = path.flops_per_param_token * params[near] * tokens[near]
    if len(np.unique(flops)) < 2:
        raise FitError(f"{len(np.unique(flops))} runs have about {path.tokens_per_param:.3g} tokens per parameter")
    result = fit(law, np.stack([params, tokens], axis=-1), y, loss=loss, fixed=fixed, soft=soft, seed=seed)
    if len(np.unique(params)) < 2 or len(y) < len(result.free):
        raise FitError(f"{len(y)} runs of {len(np.unique(params))} sizes cannot determine '{law.name}'")
    drawn = bootstrap(result, replicates=replicates, blocks=runs, seed=seed)
    low, high = float(np.min(flops)), float(np.max(flops))
    return _changing(Curve(result=result, theta=drawn.theta, blocks=drawn.blocks, low=low, high=high, path=path))


def common_levels(a: Curve, b: Curve) -> tuple[float, float]:
    """Range of levels that both families reach within what was measured.

    Raises:
        FitError: there is none.
    """
    (low_a, high_a), (low_b, high_b) = a.level_range(), b.level_range()
    low, high = max(low_a, low_b), min(high_a, high_b)
    if not high > low:
        raise FitError(
            f"no level is reached by both: {low_a:.4g} to {high_a:.4g} and {low_b:.4g} to {high_b:.4g}",
            expected="families whose measured ranges overlap",
            remedy="measure more checkpoints; nothing is extrapolated here",
        )
    return low, high


def gain_at(a: Curve, b: Curve, level: float, *, confidence: float) -> Gain:
    """Gain of A over B at a level within the common range.

    Raises:
        UsageError: the level is outside the common range.
        FitError: there is none.
    """
    low, high = common_levels(a, b)
    slack = 1e-9 * (high - low)
    if not low - slack <= level <= high + slack:
        raise UsageError(
            f"level {level:.4g} is outside the common range {low:.4g} to {high:.4g}", remedy="choose a level inside"
        )
    level = float(np.clip(level, low, high))
    log_a, log_b = _inverse(a, a.result.theta, level), _inverse(b, b.result.theta, level)
    count = min(len(a.theta), len(b.theta))
    drawn = _inverses(b, b.theta[:count], level) - _inverses(a, a.theta[:count], level)
    blocks = min(a.blocks, b.blocks)
    tail = expanded_tail(confidence, blocks, max(len(a.result.free), len(b.result.free)))
    # A replicate that reaches the level nowhere counts as infinitely far, on its own side.
    lo, hi = np.quantile(np.nan_to_num(drawn, nan=0.0, posinf=690.0, neginf=-690.0), [tail, 1 - tail])
    return Gain(
        level=level,
        flops_a=float(np.exp(log_a)),
        flops_b=float(np.exp(log_b)),
        ratio=float(np.exp(log_b - log_a)),
        lo=float(np.exp(lo)) if lo > -690 else 0.0,
        hi=float(np.exp(hi)) if hi < 690 else float("inf"),
    )


def _inverse(curve: Curve, theta: FloatArray, level: float) -> float:
    """Log FLOPs at which the fitted curve reaches the level, by bracketing."""
    low, high = np.log(curve.low), np.log(curve.high)

    def gap(log_c: float) -> float:
        return float(curve.predict(np.exp(np.array([log_c])), theta)[0]) - level

    if gap(low) * gap(high) > 0:  # the level is an end of the range, up to rounding
        return float(low if abs(gap(low)) < abs(gap(high)) else high)
    return float(optimize.brentq(gap, low, high, xtol=1e-10))


def _inverses(curve: Curve, theta: FloatArray, level: float) -> FloatArray:
    """Log FLOPs (replicates,) at which replicates reach the level, up to six decades beyond the range; infinite if nowhere."""
    log_c = np.linspace(np.log(curve.low) - _REACH, np.log(curve.high) + _REACH, _GRID)
    with np.errstate(all="ignore"):
        values = np.nan_to_num(curve.predict(np.exp(log_c), theta))
    bottom, top = curve.predict(np.array([curve.low, curve.high]))
    sign = 1.0 if top > bottom else -1.0
    out = np.empty(len(theta))
    for index, row in enumerate(values):
        rising = np.maximum.accumulate(sign * row)
        if sign * level < rising[0]:
            out[index] = -np.inf
        elif sign * level > rising[-1]:
            out[index] = np.inf
        else:
            out[index] = np.interp(sign * level, rising, log_c)
    return out


def gain_curve(a: Curve, b: Curve, *, confidence: float, count: int = 5) -> list[Gain]:
    """Gains at levels spread over the common range, its ends included."""
    low, high = common_levels(a, b)
    return [gain_at(a, b, float(level), confidence=confidence) for level in np.linspace(low, high, count)]
