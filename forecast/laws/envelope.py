"""Hoffmann's approach 1: the lower envelope of loss curves over compute, and the size that reaches it at each budget.

Hoffmann 2022 (arXiv:2203.15556, section 3.1): interpolate the loss of each size over compute, take the best size in 1500
bins of log C, fit power laws to N and D of the best.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecast.core.errors import FitError
from forecast.laws.law import FloatArray
from forecast.laws.optimal import Frontier, TrainingRuns, line, resampled

BINS = 1500
_SAME_SIZE = 0.06
"""Runs whose N differ by less than 6 % between neighbours are one size: digitised tables scatter by some per cent."""
_MIN_ON_ENVELOPE = 3
"""Sizes that must touch the envelope."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LossCurve:
    """Loss of one size over log C, the best run where several overlap."""

    params: float
    log_c: FloatArray
    log_d: FloatArray
    loss: FloatArray

    def loss_at(self, log_c: float) -> float:
        """Interpolated loss, linear in log C."""
        return float(np.interp(log_c, self.log_c, self.loss))

    def tokens_at(self, log_c: float) -> float:
        """Interpolated tokens, linear in logarithms."""
        return float(np.exp(np.interp(log_c, self.log_c, self.log_d)))


def loss_curves(runs: TrainingRuns) -> list[LossCurve]:
    """Group rows by size; keep, along compute, only losses that no cheaper row of the size has reached."""
    order = np.argsort(runs.params, kind="stable")
    breaks = np.flatnonzero(np.diff(np.log(runs.params[order])) > np.log1p(_SAME_SIZE)) + 1
    curves = []
    for group in np.split(order, breaks):
        group = group[np.lexsort((runs.loss[group], runs.flops[group]))]
        best = np.minimum.accumulate(runs.loss[group])
        first = np.concatenate([[True], np.diff(runs.flops[group]) > 0])
        keep = group[(runs.loss[group] <= best) & first]
        if len(keep) >= 2:
            curves.append(
                LossCurve(
                    params=float(np.exp(np.mean(np.log(runs.params[group])))),
                    log_c=np.log(runs.flops[keep]),
                    log_d=np.log(runs.tokens[keep]),
                    loss=runs.loss[keep],
                )
            )
    return curves


@dataclass(frozen=True, kw_only=True, eq=False)
class Envelope:
    """The envelope in bins of compute."""

    flops: FloatArray
    params: FloatArray
    tokens: FloatArray
    loss: FloatArray
    curves: tuple[LossCurve, ...]
    censored: bool
    """Whether budgets at which the smallest or the largest size is best were left out."""


def find_envelope(runs: TrainingRuns) -> Envelope:
    """Return size, data and loss of the best curve in each bin of log C that at least two curves cover.

    Raises:
        FitError: fewer than three sizes have curves, or fewer than three of them are ever best.
    """
    curves = loss_curves(runs)
    if len(curves) < _MIN_ON_ENVELOPE:
        raise FitError(
            f"{len(curves)} sizes have a loss curve over compute",
            expected=f"at least {_MIN_ON_ENVELOPE}: several checkpoints, or several token counts, of each size",
        )
    low, high = min(curve.log_c[0] for curve in curves), max(curve.log_c[-1] for curve in curves)
    bins = np.linspace(low, high, BINS)
    losses = np.array([np.interp(bins, curve.log_c, curve.loss, left=np.inf, right=np.inf) for curve in curves])
    covered = np.isfinite(losses).sum(axis=0) >= 2
    bins, losses = bins[covered], losses[:, covered]
    if len(bins) == 0:
        raise FitError("loss curves of different sizes do not overlap in compute", expected="sizes trained to common budgets")
    best = np.argmin(losses, axis=0)
    if len(np.unique(best)) < _MIN_ON_ENVELOPE:
        raise FitError(
            f"only {len(np.unique(best))} sizes are the best at some compute", expected=f"at least {_MIN_ON_ENVELOPE}"
        )
    # Where the smallest or the largest size is the best, a size beyond it might be better: such bins are censored.
    inside = (best > 0) & (best < len(curves) - 1)
    censored = len(np.unique(best[inside])) >= _MIN_ON_ENVELOPE and not np.all(inside)
    if censored:
        bins, best, losses = bins[inside], best[inside], losses[:, inside]
    tokens = np.array([curves[index].tokens_at(log_c) for index, log_c in zip(best, bins, strict=True)])
    return Envelope(
        censored=censored,
        flops=np.exp(bins),
        params=np.array([curves[index].params for index in best]),
        tokens=tokens,
        loss=losses[best, np.arange(len(bins))],
        curves=tuple(curves),
    )


def envelope_frontier(runs: TrainingRuns, *, replicates: int = 300, seed: int = 0) -> tuple[Frontier, Envelope]:
    """Approach 1, with a bootstrap over runs.

    Raises:
        FitError: see `find_envelope`.
    """
    envelope = find_envelope(runs)
    point = _power_laws(envelope)
    drawn = []
    for rows in resampled(runs, replicates, seed):
        try:
            drawn.append(_power_laws(find_envelope(runs.take(rows))))
        except FitError:
            continue
    notes = [f"{len(np.unique(envelope.params))} of {len(envelope.curves)} sizes touch the envelope"]
    if envelope.censored:
        notes.append("budgets whose best size is the smallest or the largest measured are not used")
    if len(drawn) < 0.8 * replicates:
        notes.append(f"{replicates - len(drawn)} of {replicates} bootstrap replicates had no envelope")
    n0, a, d0, b = point
    frontier = Frontier(
        approach="Hoffmann 1 (envelope)",
        n0=n0,
        a=a,
        d0=d0,
        b=b,
        replicates=np.array(drawn, dtype=np.float64).reshape(-1, 4),
        blocks=len(set(runs.run)),
        free=2,
        notes=tuple(notes),
    )
    return frontier, envelope


def _power_laws(envelope: Envelope) -> tuple[float, float, float, float]:
    log_c = np.log(envelope.flops)
    return (*line(log_c, np.log(envelope.params)), *line(log_c, np.log(envelope.tokens)))
