"""Bootstrap of a fit: resample whole runs (and items), refit from the optimum, all replicates at once.

A run's checkpoints share their noise, so runs are the blocks (Efron & Tibshirani 1993, section 8.6). Each replicate is the
same fit with integer weights: how often its run was drawn. Every replicate begins at the full fit's optimum;
replicates that do not converge are counted, not hidden.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from forecast.core.errors import FitError, UsageError
from forecast.laws.law import FloatArray
from forecast.laws.newton import Stop
from forecast.laws.points import as_columns
from forecast.laws.result import FitResult
from forecast.laws.search import polish

MIN_REPLICATES = 20
"""Fewer say nothing about an interval's ends."""
_MOST_REPLICATES = 100_000
"""The ends of a 99.9 % interval are then known from 50 replicates each."""
_TOLERANCE = 1e-9
"""Relative decrease still promised: far below the spread between replicates."""


def check_level(level: float) -> None:
    """Check the nominal coverage of intervals.

    Raises:
        UsageError: it is not a fraction between 0 and 1.
    """
    if not 0 < level < 1:
        raise UsageError(f"level {level} cannot be meant", expected="a number between 0 and 1, such as 0.9")


def check_replicates(replicates: int) -> None:
    """Check the number of bootstrap replicates.

    Raises:
        UsageError: too few to say anything and not 0, or more than could change an interval.
    """
    if replicates != 0 and not MIN_REPLICATES <= replicates <= _MOST_REPLICATES:
        raise UsageError(
            f"{replicates} bootstrap replicates",
            expected=f"0 for none, or at least {MIN_REPLICATES} and at most {_MOST_REPLICATES:,}",
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Bootstrap:
    """Replicates of a fit."""

    result: FitResult
    theta: FloatArray
    """(replicates, parameters), only those that converged."""
    requested: int
    failed: int
    """Replicates without a finite optimum, or with fewer distinct scales than free parameters."""
    blocks: int

    def standard_errors(self) -> Mapping[str, float]:
        """Standard deviation over replicates by name; NaN where the fit was not identified."""
        spread = np.std(self.theta, axis=0, ddof=1)
        return {
            name: float("nan") if name in self.result.unidentified else float(value)
            for name, value in zip(self.result.law.names, spread, strict=True)
        }

    def interval(self, name: str, level: float) -> tuple[float, float]:
        """Expanded percentile interval of one parameter, see `expanded_tail`."""
        column = self.theta[:, self.result.law.names.index(name)]
        return self._central(column, level)

    def interval_of(self, values: FloatArray, level: float) -> tuple[float, float]:
        """The same for anything computed from the replicates, one number for each of them."""
        return self._central(values, level)

    def _central(self, values: FloatArray, level: float) -> tuple[float, float]:
        tail = expanded_tail(level, self.blocks, len(self.result.free))
        low, high = np.quantile(values[np.isfinite(values)], [tail, 1 - tail])
        return float(low), float(high)

    def predict(self, x: ArrayLike | Mapping[str, ArrayLike]) -> FloatArray:
        """Predicted means (replicates, rows) at x: their spread is the uncertainty of the curve, without new noise."""
        with np.errstate(all="ignore"):
            return np.asarray(self.result.law.predict(as_columns(self.result.law, x), self.theta))


def expanded_tail(level: float, blocks: int, free: int) -> float:
    """Tail probability to take a central interval's ends at, from replicates of few blocks.

    Plain percentile intervals of n observations are too short by sqrt(n / (n - p)), and use the normal where Student's t
    belongs: tail = Phi(-sqrt(n / (n - p)) t_{(1 + level) / 2, n - p}) (Hesterberg 2015, arXiv:1411.5279, section 3.4).

    >>> round(expanded_tail(0.9, 10**6, 2), 4), expanded_tail(0.9, 10, 2) < 0.03
    (0.05, True)
    """
    dof = max(blocks - free, 1)
    return float(stats.norm.cdf(-np.sqrt(blocks / dof) * stats.t.ppf((1.0 + level) / 2.0, dof)))


def block_weights(blocks: Sequence[Hashable], replicates: int, rng: np.random.Generator) -> FloatArray:
    """How often each row is drawn (replicates, rows) when whole blocks are drawn with replacement.

    >>> block_weights(["a", "a", "b"], 1, np.random.default_rng(0)).shape
    (1, 3)
    """
    order = {name: index for index, name in enumerate(dict.fromkeys(blocks))}
    code = np.array([order[name] for name in blocks], dtype=np.intp)
    count = len(order)
    draws = rng.integers(0, count, size=(replicates, count))
    times = np.zeros((replicates, count))
    np.add.at(times, (np.arange(replicates)[:, None], draws), 1.0)
    return times[:, code]


def bootstrap(
    result: FitResult,
    *,
    replicates: int = 1000,
    blocks: Sequence[Hashable] | None = None,
    items: FloatArray | None = None,
    resample_runs: bool = True,
    seed: int = 0,
) -> Bootstrap:
    """Resample runs, and items where they are given, and refit.

    Args:
        result: the fit to resample.
        replicates: how many.
        blocks: run of each row; every row is a run of its own unless given.
        items: (rows, items) results whose row means are y, every row on the same items: items are drawn once per
            replicate for all rows, so that what rows share cancels as it does in the measurements.
        resample_runs: whether runs are drawn too; False leaves the sampling error of the items alone.
        seed: of the draws.

    Raises:
        FitError: `items` does not fit the rows or has missing entries, `blocks` has the wrong length, or there are fewer
            than two blocks.
    """
    problem = result.problem
    rows = len(problem.y)
    names: Sequence[Hashable] = list(range(rows)) if blocks is None else list(blocks)
    if len(names) != rows:
        raise FitError(f"{len(names)} blocks for {rows} rows", expected="one block name per row")
    count = len(set(names))
    if count < 2:
        raise FitError("there is only one run", expected="at least two runs to resample")
    rng = np.random.default_rng(seed)
    times = block_weights(names, replicates, rng) if resample_runs else np.ones((replicates, rows))
    start = problem.coordinates(result.theta[None])[0]
    weighted = replace(problem, weights=times * problem.weights)
    if items is not None:
        weighted = replace(weighted, y=_redrawn_means(items, problem.y, replicates, rng))
    found = polish(weighted, np.repeat(start[None], replicates, axis=0), max_iterations=200, tolerance=_TOLERANCE)
    good = np.isfinite(found.value) & (found.stop != Stop.UNDEFINED) & _enough_scales(problem.x, times, len(problem.free))
    if good.sum() < max(2, replicates // 10):
        raise FitError(f"only {int(good.sum())} of {replicates} bootstrap replicates could be fitted", remedy="use more runs")
    return Bootstrap(
        result=result, theta=problem.theta(found.u[good]), requested=replicates, failed=int((~good).sum()), blocks=count
    )


def _redrawn_means(items: FloatArray, y: FloatArray, replicates: int, rng: np.random.Generator) -> FloatArray:
    """Row means over resampled items (replicates, rows)."""
    matrix = np.asarray(items, dtype=np.float64)
    if matrix.ndim != 2 or len(matrix) != len(y) or matrix.shape[1] < 2:
        raise FitError(f"items have shape {matrix.shape}", expected=f"({len(y)}, items), at least two items")
    if not np.all(np.isfinite(matrix)):
        raise FitError("some rows lack some items", expected="every row on the same items")
    if not np.allclose(matrix.mean(axis=1), y, rtol=1e-6, atol=1e-9):
        raise FitError("the rows' means over items are not the fitted measurements", expected="items of the same metric")
    count = matrix.shape[1]
    drawn = np.empty((replicates, len(y)))
    for index in range(replicates):
        times = np.bincount(rng.integers(0, count, count), minlength=count)
        drawn[index] = matrix @ times / count
    return drawn


def _enough_scales(x: FloatArray, times: FloatArray, needed: int) -> NDArray[np.bool_]:
    """Whether each replicate kept at least as many distinct scales as there are free parameters."""
    _, code = np.unique(x, axis=0, return_inverse=True)
    code = np.asarray(code).reshape(-1)
    if code.max() + 1 > 64:
        return np.ones(len(times), dtype=np.bool_)
    drawn = np.stack([np.any(times[:, code == scale] > 0, axis=1) for scale in range(int(code.max()) + 1)], axis=1)
    return np.asarray(drawn.sum(axis=1) >= needed)
