"""Compute-optimal size and data: what every approach returns, and approach 3, which follows from a fitted loss.

With C = k N D and L = E + A / N^alpha + B / D^beta, the loss at fixed C is least at
N = G (C / k)^a, D = (C / k)^b / G, G = (alpha A / (beta B))^(1 / (alpha + beta)), a = beta / (alpha + beta), b = 1 - a
(Hoffmann 2022, arXiv:2203.15556, eq. 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecast.core.errors import FitError
from forecast.core.units import FLOPS_PER_PARAM_TOKEN
from forecast.laws.bootstrap import block_weights, bootstrap, expanded_tail
from forecast.laws.law import FloatArray
from forecast.laws.losses import Huber
from forecast.laws.registry import get_law
from forecast.laws.result import FitResult
from forecast.laws.solver import fit


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingRuns:
    """Losses of runs, possibly along them; all arrays of one length."""

    params: FloatArray
    """N."""
    tokens: FloatArray
    """D."""
    flops: FloatArray
    """C, of one convention."""
    loss: FloatArray
    """nats per token (or any one unit)."""
    run: tuple[str, ...]
    """Rows of one run are autocorrelated: they are resampled together."""

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.run)

    def take(self, rows: NDArray[np.intp]) -> TrainingRuns:
        """Return some of the rows."""
        return TrainingRuns(
            params=self.params[rows],
            tokens=self.tokens[rows],
            flops=self.flops[rows],
            loss=self.loss[rows],
            run=tuple(self.run[i] for i in rows),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Frontier:
    """Power laws N*(C) = exp(n0) C^a and D*(C) = exp(d0) C^b by one approach, with bootstrap replicates."""

    approach: str
    n0: float
    a: float
    d0: float
    b: float
    replicates: FloatArray
    """(replicates, 4): n0, a, d0, b; empty where none were drawn."""
    blocks: int
    free: int
    """Parameters that the approach estimates, for small-sample intervals."""
    notes: tuple[str, ...] = ()

    def params(self, flops: float) -> float:
        """N* at a budget."""
        return float(np.exp(self.n0 + self.a * np.log(flops)))

    def tokens(self, flops: float) -> float:
        """D* at a budget."""
        return float(np.exp(self.d0 + self.b * np.log(flops)))

    def interval(self, flops: float, quantity: str, level: float) -> tuple[float, float]:
        """Central interval of `params`, `tokens`, `ratio` (tokens per parameter), `a` or `b`; NaN without replicates."""
        if len(self.replicates) < 20:
            return float("nan"), float("nan")
        n0, a, d0, b = self.replicates.T
        log_c = np.log(flops)
        values = {
            "params": np.exp(n0 + a * log_c),
            "tokens": np.exp(d0 + b * log_c),
            "ratio": np.exp(d0 - n0 + (b - a) * log_c),
            "a": a,
            "b": b,
        }[quantity]
        tail = expanded_tail(level, self.blocks, self.free)
        low, high = np.quantile(values, [tail, 1 - tail])
        return float(low), float(high)


def flops_per_param_token(runs: TrainingRuns, *, tolerance: float = 1.25) -> float:
    """Return k in C = k N D, measured on the rows: 6 where C was counted so.

    Raises:
        FitError: k varies by more than `tolerance` between rows: N and C are then of different conventions.
    """
    k = runs.flops / (runs.params * runs.tokens)
    low, high = float(np.min(k)), float(np.max(k))
    if high > tolerance * low:
        raise FitError(
            f"C / (N D) varies from {low:.3g} to {high:.3g} between rows",
            expected="FLOPs and parameters counted by one convention (6 N D gives 6 everywhere)",
            remedy="recount FLOPs with `flops_convention=` 6nd-total or 6nd-non-embedding",
        )
    return float(np.median(k))


def resampled(runs: TrainingRuns, replicates: int, seed: int) -> list[NDArray[np.intp]]:
    """Row numbers of bootstrap samples: whole runs with replacement."""
    rng = np.random.default_rng(seed)
    times = block_weights(runs.run, replicates, rng).astype(np.intp)
    rows = np.arange(len(runs))
    return [np.repeat(rows, count) for count in times]


def line(log_c: FloatArray, log_value: FloatArray) -> tuple[float, float]:
    """Intercept and slope of a straight line by least squares.

    Raises:
        FitError: fewer than two distinct budgets.
    """
    if len(np.unique(log_c)) < 2:
        raise FitError("an optimum was found at fewer than two budgets", expected="at least two to fit a power law")
    slope, intercept = np.polyfit(log_c - log_c.mean(), log_value, 1)
    return float(intercept - slope * log_c.mean()), float(slope)


def parametric_frontier(
    runs: TrainingRuns, *, huber_delta: float = 1e-3, replicates: int = 1000, seed: int = 0
) -> tuple[Frontier, FitResult]:
    """Hoffmann's approach 3: fit L(N, D), minimise along C = k N D.

    Raises:
        FitError: conventions are mixed, or the fit does not identify the exponents and amplitudes.
    """
    k = flops_per_param_token(runs)
    result = fit(
        get_law("chinchilla"), np.stack([runs.params, runs.tokens], axis=-1), runs.loss, loss=Huber(huber_delta), seed=seed
    )
    doubtful = [name for name in ("A", "B", "alpha", "beta") if name in result.unidentified]
    if doubtful:
        raise FitError(f"approach 3 does not identify {', '.join(doubtful)}: {'; '.join(result.reasons)}")
    n0, a, d0, b = _frontier_of(result.theta[None], k)[0]
    drawn: FloatArray = np.empty((0, 4))
    blocks = len(set(runs.run))
    if replicates and blocks >= 6:
        drawn = _frontier_of(bootstrap(result, replicates=replicates, blocks=runs.run, seed=seed).theta, k)
        drawn = drawn[np.all(np.isfinite(drawn), axis=1)]
    frontier = Frontier(
        approach="Hoffmann 3 (parametric loss)",
        n0=float(n0),
        a=float(a),
        d0=float(d0),
        b=float(b),
        replicates=drawn,
        blocks=blocks,
        free=5,
        notes=result.reasons,
    )
    return frontier, result


def _frontier_of(theta: FloatArray, k: float) -> FloatArray:
    """(n0, a, d0, b) of parameter vectors (replicates, 5)."""
    big_a, big_b, _, alpha, beta = theta.T
    a = beta / (alpha + beta)
    log_g = (np.log(alpha) + np.log(big_a) - np.log(beta) - np.log(big_b)) / (alpha + beta)
    return np.stack([log_g - a * np.log(k), a, -log_g - (1 - a) * np.log(k), 1 - a], axis=-1)


def published_frontier(source: str, params: Sequence[float], k: float = FLOPS_PER_PARAM_TOKEN) -> Frontier:
    """Approach 3's optimum for printed constants (A, B, E, alpha, beta), without intervals.

    >>> round(published_frontier("Hoffmann 2022", (406.4, 410.7, 1.69, 0.34, 0.28)).a, 3)
    0.452
    """
    n0, a, d0, b = _frontier_of(np.array([params], dtype=np.float64), k)[0]
    return Frontier(
        approach=source,
        n0=float(n0),
        a=float(a),
        d0=float(d0),
        b=float(b),
        replicates=np.empty((0, 4)),
        blocks=0,
        free=5,
        notes=("printed constants",),
    )


def fixed_ratio_frontier(ratio: float) -> Frontier:
    """Return the frontier of one number of tokens per parameter: N = sqrt(C / (6 r)), D = r N.

    >>> round(fixed_ratio_frontier(20.0).params(1.2e20))
    1000000000
    """
    n0 = -0.5 * float(np.log(FLOPS_PER_PARAM_TOKEN * ratio))
    return Frontier(
        approach=f"{ratio:g} tokens per parameter",
        n0=n0,
        a=0.5,
        d0=n0 + float(np.log(ratio)),
        b=0.5,
        replicates=np.empty((0, 4)),
        blocks=0,
        free=1,
    )
