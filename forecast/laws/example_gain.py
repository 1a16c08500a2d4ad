"""What one way of asking gains over another (examples, reasoning), against compute: per checkpoint, as a curve, and from where.

The gain of a checkpoint is the difference of its two means; where both ways were answered item by item, items are paired. Over
log compute the gain is a step of some width, y = low + (high - low) sigmoid((log C - m) / w), or a straight line where there
are few scales; both are linear in their levels, so m and w are searched on a grid and every replicate is solved exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from forecast.core.errors import FitError
from forecast.core.observations import FloatArray
from forecast.laws.bootstrap import block_weights, expanded_tail

_SCALES_FOR_STEP = 6
"""A step has four numbers; fewer scales get a line."""
_GRID = 121
_CENTRES = np.linspace(0.0, 1.0, 13)
_WIDTHS = (0.03, 0.1, 0.25, 0.6)
"""Of the step, as parts of the measured range of log compute."""
_BEYOND = 0.25
"""How far a replicate's curve may leave the range of its gains where it holds no run, as a part of that range."""
Basis = Callable[[FloatArray], FloatArray]
"""A shape over log compute, from 0 to 1."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PairedRows:
    """Checkpoints measured in both ways; arrays of one length."""

    flops: FloatArray
    run: tuple[str, ...]
    gain: FloatArray
    """Positive where the second way is better."""
    se: FloatArray
    """Standard error of each gain over items; NaN where unknown."""
    items: FloatArray | None = None
    """(rows, items) gains item by item; None where items cannot be paired."""


@dataclass(frozen=True, kw_only=True)
class GainPoint:
    """The curve at one compute."""

    flops: float
    gain: float
    lo: float
    hi: float


@dataclass(frozen=True, kw_only=True)
class GainOnset:
    """Training FLOPs from which on the gain exceeds the margin; None: outside the measured range."""

    point: float | None
    lo: float | None
    hi: float | None


@dataclass(frozen=True, kw_only=True)
class FittedGain:
    """The curve of a gain and where it starts."""

    shape: str
    """`step` or `line`."""
    curve: tuple[GainPoint, ...]
    at_largest: GainPoint
    probability: float
    """Share of replicates whose gain exceeds the margin at the largest compute."""
    status: str
    """`seen`, `before-data`, `undecided` or `not-seen`, at the largest compute and with the interval's confidence."""
    onset: GainOnset
    reasons: tuple[str, ...]


def fit_gain(rows: PairedRows, *, margin: float, level: float, replicates: int, seed: int) -> FittedGain:
    """Fit the curve, with a bootstrap over runs and items.

    Raises:
        FitError: fewer than two computes or runs.
    """
    x = np.log(rows.flops)
    runs, scales = len(set(rows.run)), len(np.unique(x))
    if scales < 2 or runs < 2:
        raise FitError(
            f"{len(x)} checkpoints of {runs} runs at {scales} computes were measured in both ways",
            expected="at least two runs of different compute",
            remedy="evaluate more checkpoints both ways",
        )
    rng = np.random.default_rng(seed)
    shape = "step" if scales >= _SCALES_FOR_STEP else "line"
    times = np.vstack([np.ones(len(x)), block_weights(rows.run, replicates, rng)])
    y = np.vstack([rows.gain, _redrawn(rows, replicates, rng)])
    grid = np.linspace(x.min(), x.max(), _GRID)
    values = _fit(x, y, times * _precision(rows.se), grid, shape)
    enough = np.array([len(np.unique(x[drawn > 0])) >= 2 for drawn in times])
    drawn = values[1:][enough[1:]]
    if len(drawn) < replicates // 10:
        raise FitError("too few bootstrap replicates hold two computes", remedy="evaluate more checkpoints both ways")
    tail = expanded_tail(level, runs, min(2, runs - 1))
    lo, hi = np.quantile(drawn, [tail, 1 - tail], axis=0)
    points = [
        GainPoint(flops=float(np.exp(c)), gain=float(g), lo=float(a), hi=float(b))
        for c, g, a, b in zip(grid, values[0], np.minimum(lo, values[0]), np.maximum(hi, values[0]), strict=True)
    ]
    top = points[-1]
    onset, status, reasons = _onset(grid, values[0], drawn, top, margin, tail)
    return FittedGain(
        shape=shape,
        curve=tuple(points[:: (_GRID - 1) // 20]),
        at_largest=top,
        probability=float(np.mean(drawn[:, -1] > margin)),
        status=status,
        onset=onset,
        reasons=reasons,
    )


def _precision(se: FloatArray) -> FloatArray:
    """Weights of the rows: no row counts more than twice the average, for curves miss by more than the items' noise."""
    if not np.isfinite(se).all() or not np.mean(se**2) > 0:
        return np.ones(len(se))
    return np.asarray(1.0 / (se**2 + np.mean(se**2)))


def _redrawn(rows: PairedRows, replicates: int, rng: np.random.Generator) -> FloatArray:
    """Gains (replicates, rows) over items drawn anew, the same for all rows; else with their standard errors' noise."""
    if rows.items is None:
        noise = rng.standard_normal((replicates, len(rows.gain)))
        return np.asarray(rows.gain + noise * np.nan_to_num(rows.se))
    count = rows.items.shape[1]
    drawn = rng.multinomial(count, np.full(count, 1.0 / count), size=replicates)
    return np.asarray(drawn @ rows.items.T / count)


def _fit(x: FloatArray, y: FloatArray, weights: FloatArray, grid: FloatArray, shape: str) -> FloatArray:
    """Curves (fits, grid), one for each row of y and weights (fits, rows), by the basis of least squares."""
    span = float(np.ptp(x))
    bases: list[Basis] = [lambda at: (at - x.min()) / span]
    if shape == "step":
        bases += [_step(x.min() + centre * span, width * span) for centre in _CENTRES for width in _WIDTHS]
    best = np.full(len(y), np.inf)
    curves = np.zeros((len(y), len(grid)))
    total = weights.sum(axis=1)
    mean_y = (weights * y).sum(axis=1) / total
    for basis in bases:
        phi, on_grid = basis(x), basis(grid)
        mean_phi = (weights * phi).sum(axis=1) / total
        centred, residual = phi - mean_phi[:, None], y - mean_y[:, None]
        spread = (weights * centred**2).sum(axis=1)
        slope = np.divide(
            (weights * centred * residual).sum(axis=1), spread, out=np.zeros(len(y)), where=spread > 1e-12 * total
        )
        error = (weights * (residual - slope[:, None] * centred) ** 2).sum(axis=1)
        better = error < best * (1 - 1e-9)
        best[better] = error[better]
        curves[better] = (mean_y[:, None] + slope[:, None] * (on_grid - mean_phi[:, None]))[better]
    # A basis that barely varies over the drawn rows would run off between them: a gain is a difference of two means.
    low, high = y.min(axis=1, keepdims=True), y.max(axis=1, keepdims=True)
    slack = _BEYOND * (high - low)
    return np.clip(curves, low - slack, high + slack)


def _step(centre: float, width: float) -> Basis:
    return lambda at: 1.0 / (1.0 + np.exp(-np.clip((at - centre) / width, -60, 60)))


def _crossings(grid: FloatArray, curves: FloatArray, margin: float) -> FloatArray:
    """Log compute (curves,) from which on a curve stays above the margin: -inf from the start, inf where it ends below."""
    above = curves > margin
    stays = np.flip(np.logical_and.accumulate(np.flip(above, axis=1), axis=1), axis=1)
    first = stays.argmax(axis=1)
    found = np.where(first == 0, -np.inf, grid[first])
    return np.where(stays[:, -1], found, np.inf)


def _onset(
    grid: FloatArray, fitted: FloatArray, drawn: FloatArray, top: GainPoint, margin: float, tail: float
) -> tuple[GainOnset, str, tuple[str, ...]]:
    point = float(_crossings(grid, fitted[None], margin)[0])
    lo, hi = np.quantile(_crossings(grid, drawn, margin), [tail, 1 - tail], method="inverted_cdf")
    ends = GainOnset(point=_flops(point), lo=_flops(float(lo)), hi=_flops(float(hi)))
    reasons = []
    if lo == -np.inf:
        reasons.append("The interval reaches below the smallest compute measured.")
    if hi == np.inf:
        reasons.append("The interval reaches beyond the largest compute measured.")
    if top.lo > margin:
        status = "before-data" if point == -np.inf else "seen"
        said = "from the smallest compute measured on" if point == -np.inf else "within the measured range"
        reasons.insert(0, f"The gain exceeds the margin at the largest compute, and does so {said}.")
    elif top.hi > margin:
        status = "undecided"
        reasons.insert(0, "At the largest compute the interval of the gain holds the margin: these results do not decide.")
    else:
        status = "not-seen"
        reasons.insert(0, "At the largest compute the whole interval of the gain is below the margin.")
    return ends, status, tuple(reasons)


def _flops(log_c: float) -> float | None:
    return float(np.exp(log_c)) if np.isfinite(log_c) else None
