"""Hoffmann's approach 2 and Llama 3's fit: a parabola of the loss at each budget, a power law through the minima.

Hoffmann 2022 (arXiv:2203.15556, section 3.2) draws the parabola in log N; Llama 3 (arXiv:2407.21783, section 3.2.1) in log D.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecast.core.errors import FitError
from forecast.laws.bootstrap import block_weights
from forecast.laws.envelope import loss_curves
from forecast.laws.law import FloatArray
from forecast.laws.optimal import Frontier, TrainingRuns, line, resampled

_SAME_BUDGET = 0.1
"""Runs within 10 % of one compute belong to one budget ..."""
_MIN_SIZES = 5
"""... which takes part when it has this many sizes."""
_MIN_BUDGETS = 3
"""Budgets that runs must share; with fewer, loss curves are cut instead."""
_SLICES = 9
"""Budgets at which loss curves are cut where no runs share a budget (Hoffmann used nine)."""
APPROACH_BY = {"params": "Hoffmann 2 (isoFLOP in log N)", "tokens": "Llama 3 (isoFLOP in log D)"}
"""What the parabola is drawn over -> the approach's name."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Slice:
    """Losses at one budget."""

    flops: float
    params: FloatArray
    tokens: FloatArray
    loss: FloatArray
    rows: NDArray[np.intp]
    """Which runs share the budget; empty where the slice was cut through curves."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Parabola:
    """loss = floor + bend (log s - centre)^2 at one budget, s the size or the data."""

    flops: float
    centre: float
    floor: float
    bend: float
    slice: Slice
    inside: bool
    """Whether the minimum lies among the measured sizes; one outside is an extrapolation and is not used."""


def find_slices(runs: TrainingRuns) -> tuple[list[Slice], str]:
    """Return losses by budget, and how they were obtained: from runs that share budgets, or by cutting loss curves."""
    log_c = np.log(runs.flops)
    size = np.round(np.log(runs.params), 2)
    left = np.ones(len(runs), dtype=np.bool_)
    shared = []
    # The window of compute with the most sizes is a budget; its rows are spent, and the next is looked for.
    while left.any():
        order = np.flatnonzero(left)[np.argsort(log_c[left], kind="stable")]
        ends = np.searchsorted(log_c[order], log_c[order] + _SAME_BUDGET, side="right")
        counts = [len(np.unique(size[order[begin:end]])) for begin, end in enumerate(ends)]
        begin = int(np.argmax(counts))
        if counts[begin] < _MIN_SIZES:
            break
        group = order[begin : ends[begin]]
        left[group] = False
        shared.append(
            Slice(
                flops=float(np.exp(np.mean(log_c[group]))),
                params=runs.params[group],
                tokens=runs.tokens[group],
                loss=runs.loss[group],
                rows=group,
            )
        )
    if len(shared) >= _MIN_BUDGETS:
        return sorted(shared, key=lambda entry: entry.flops), f"{len(shared)} budgets shared by runs"
    return _cut_curves(runs)


def _cut_curves(runs: TrainingRuns) -> tuple[list[Slice], str]:
    curves = loss_curves(runs)
    if len(curves) < _MIN_SIZES:
        return [], "no budgets shared by runs, and too few loss curves to cut"
    low = np.sort([curve.log_c[0] for curve in curves])[_MIN_SIZES - 1]
    high = np.sort([curve.log_c[-1] for curve in curves])[-_MIN_SIZES]
    if not high > low:
        return [], "loss curves of different sizes do not overlap in compute"
    slices = []
    for log_c in np.linspace(low, high, _SLICES):
        covering = [curve for curve in curves if curve.log_c[0] <= log_c <= curve.log_c[-1]]
        if len(covering) >= _MIN_SIZES:
            slices.append(
                Slice(
                    flops=float(np.exp(log_c)),
                    params=np.array([curve.params for curve in covering]),
                    tokens=np.array([curve.tokens_at(log_c) for curve in covering]),
                    loss=np.array([curve.loss_at(log_c) for curve in covering]),
                    rows=np.empty(0, dtype=np.intp),
                )
            )
    return slices, f"{len(slices)} budgets cut through loss curves of {len(curves)} sizes"


def fit_parabolas(slices: list[Slice], *, by: str) -> list[Parabola]:
    """Fit one parabola per budget, in log N (`by` params) or log D (`by` tokens), but to none that bends the wrong way."""
    found = []
    for entry in slices:
        log_s = np.log(entry.params if by == "params" else entry.tokens)
        if len(np.unique(log_s)) < 3:
            continue
        centre = float(log_s.mean())
        bend, slope, height = np.polyfit(log_s - centre, entry.loss, 2)
        if bend <= 0:
            continue
        best = centre - slope / (2 * bend)
        found.append(
            Parabola(
                flops=entry.flops,
                centre=float(best),
                floor=float(height - slope**2 / (4 * bend)),
                bend=float(bend),
                slice=entry,
                inside=bool(log_s.min() <= best <= log_s.max()),
            )
        )
    return found


def isoflop_frontier(runs: TrainingRuns, *, by: str, replicates: int = 1000, seed: int = 0) -> tuple[Frontier, list[Parabola]]:
    """Approach 2 (`by` params) or Llama 3's (`by` tokens): the other quantity follows from C / (N D) at each minimum.

    Raises:
        FitError: fewer than two budgets have a minimum among the measured sizes.
    """
    n0, a, d0, b, parabolas, how = _once(runs, by)
    slices = [parabola.slice for parabola in parabolas]
    drawn = (
        _resample_shared(slices, runs, by, replicates, seed)
        if all(len(entry.rows) for entry in slices)
        else _resample_cut(runs, by, replicates, seed)
    )
    used = [parabola for parabola in parabolas if parabola.inside]
    notes = [how]
    if len(used) < len(parabolas):
        notes.append(f"{len(parabolas) - len(used)} budgets have their minimum beyond the measured sizes and are not used")
    if len(used) == 2:
        notes.append("two budgets: a line through two points has no residual")
    if len(drawn) < 0.8 * replicates:
        notes.append(f"{replicates - len(drawn)} of {replicates} bootstrap replicates had fewer than two minima")
    frontier = Frontier(
        approach=APPROACH_BY[by],
        n0=n0,
        a=a,
        d0=d0,
        b=b,
        replicates=drawn,
        blocks=len(set(runs.run)),
        free=2,
        notes=tuple(notes),
    )
    return frontier, parabolas


def isoflop_frontier_of(
    every: TrainingRuns, ends: TrainingRuns, *, by: str, replicates: int, curve_replicates: int, seed: int
) -> tuple[Frontier, list[Parabola]]:
    """Take ends of runs where they share budgets; otherwise all checkpoints, whose curves are cut.

    Raises:
        FitError: neither has two budgets with a minimum; the reason is that of the last attempt.
    """
    try:
        return isoflop_frontier(ends, by=by, replicates=replicates, seed=seed)
    except FitError:
        if len(every) <= len(ends):
            raise
    return isoflop_frontier(every, by=by, replicates=min(replicates, curve_replicates), seed=seed)


def _once(runs: TrainingRuns, by: str) -> tuple[float, float, float, float, list[Parabola], str]:
    slices, how = find_slices(runs)
    parabolas = fit_parabolas(slices, by=by)
    used = [parabola for parabola in parabolas if parabola.inside]
    if len(used) < 2:
        raise FitError(
            f"{len(used)} of {len(slices)} budgets have a minimum among the measured sizes ({how})",
            expected="at least two budgets with sizes on both sides of the optimum",
            remedy="train more sizes at each budget",
        )
    log_c = np.log([parabola.flops for parabola in used])
    own = np.array([parabola.centre for parabola in used])
    other = log_c - own - np.array([_log_k(parabola.slice) for parabola in used])
    n, d = (own, other) if by == "params" else (other, own)
    return (*line(log_c, n), *line(log_c, d), parabolas, how)


def _resample_cut(runs: TrainingRuns, by: str, replicates: int, seed: int) -> FloatArray:
    """Bootstrap over runs when budgets are cut through curves: everything is repeated. Returns (drawn, 4)."""
    drawn = []
    for rows in resampled(runs, replicates, seed):
        try:
            drawn.append(_once(runs.take(rows), by)[:4])
        except FitError:
            continue
    return np.array(drawn, dtype=np.float64).reshape(-1, 4)


def _resample_shared(slices: list[Slice], runs: TrainingRuns, by: str, replicates: int, seed: int) -> FloatArray:
    """Bootstrap over runs when runs share budgets: budgets are the design and stay, rows get weights. Returns (drawn, 4)."""
    times = block_weights(runs.run, replicates, np.random.default_rng(seed))
    centres = np.full((replicates, len(slices)), np.nan)
    for index, entry in enumerate(slices):
        log_s = np.log(entry.params if by == "params" else entry.tokens)
        middle = float(log_s.mean())
        weights = times[:, entry.rows]
        design = np.stack([(log_s - middle) ** 2, log_s - middle, np.ones_like(log_s)], axis=-1)
        gram = np.einsum("bi,ij,ik->bjk", weights, design, design)
        moment = np.einsum("bi,ij,i->bj", weights, design, entry.loss)
        whole = np.linalg.cond(gram) < 1e12
        solved = np.full((replicates, 3), np.nan)
        solved[whole] = np.linalg.solve(gram[whole], moment[whole][..., None])[..., 0]
        bend, slope = solved[:, 0], solved[:, 1]
        best = middle - slope / (2 * np.where(bend > 0, bend, np.nan))
        inside = (best >= log_s.min()) & (best <= log_s.max())
        centres[:, index] = np.where(inside, best, np.nan)
    log_c = np.log([entry.flops for entry in slices])
    other = log_c - centres - np.array([_log_k(entry) for entry in slices])
    n, d = (centres, other) if by == "params" else (other, centres)
    good = np.isfinite(centres).sum(axis=1) >= 2
    return np.concatenate([_lines(log_c, n[good]), _lines(log_c, d[good])], axis=1)


def _lines(log_c: FloatArray, values: FloatArray) -> FloatArray:
    """Intercepts and slopes (drawn, 2) of straight lines through the finite entries of each row."""
    weight = np.isfinite(values).astype(np.float64)
    filled = np.where(weight > 0, values, 0.0)
    total = weight.sum(axis=1)
    mean_c, mean_v = weight @ log_c / total, filled.sum(axis=1) / total
    gap = (log_c - mean_c[:, None]) * weight
    slope = np.sum(gap * (filled - mean_v[:, None]), axis=1) / np.sum(gap * gap, axis=1)
    return np.stack([mean_v - slope * mean_c, slope], axis=-1)


def _log_k(entry: Slice) -> float:
    """Mean log of C / (N D) at a budget: its own convention, whatever it is."""
    return float(np.mean(np.log(entry.flops) - np.log(entry.params) - np.log(entry.tokens)))
