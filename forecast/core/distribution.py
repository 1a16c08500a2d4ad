"""A predictive distribution of one number: skewed, bounded, with point masses where they belong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np

from forecast.core.observations import FloatArray

_TAIL = np.array([1e-7, 1e-6, 1e-5, 2e-5, 5e-5, 1e-4, 1.5e-4, 2e-4, 3e-4, 4e-4])
PROBABILITIES: FloatArray = np.concatenate([[0.0], _TAIL, np.arange(1, 2000) / 2000, 1.0 - _TAIL[::-1], [1.0]])
"""Where a quantile function is kept: every 0.0005, closer in the tails; levels of three decimals lie on it exactly."""
PROBABILITIES.setflags(write=False)

_Numbers: TypeAlias = Sequence[float] | FloatArray

MOST_KNOTS = 3 * len(PROBABILITIES)
"""A polyline longer than this is read off at `PROBABILITIES`."""


@dataclass(frozen=True, eq=False)
class Distribution:
    """A distribution by its quantile function, a polyline from probability 0 to 1.

    A stretch of equal values is a point mass; a stretch of equal probabilities is a gap that nothing falls into. All
    the methods are exact for this polyline, so that a score computed from it is not an estimate.

    >>> half = Distribution.from_samples([0.2, 0.2, 0.6, 0.8])
    >>> half.median, half.probability_above(0.5), half.interval(0.5)
    (0.2, 0.5, (0.2, 0.6))
    """

    values: FloatArray
    """Quantiles, never falling."""
    probabilities: FloatArray
    """Probability of each, never falling, from 0 to 1."""

    def __post_init__(self) -> None:
        values, probabilities = np.array(self.values, dtype=float), np.array(self.probabilities, dtype=float)
        if values.ndim != 1 or values.shape != probabilities.shape or len(values) < 2:
            raise ValueError(f"one value per probability, two or more; found {len(values)} and {len(probabilities)}")
        if not (np.isfinite(values).all() and np.isfinite(probabilities).all()):
            raise ValueError("the values and probabilities of a distribution must be finite")
        if (np.diff(values) < 0).any() or (np.diff(probabilities) < 0).any():
            raise ValueError("the values and probabilities of a distribution must not fall")
        if probabilities[0] != 0.0 or probabilities[-1] != 1.0:
            raise ValueError(f"probabilities must run from 0 to 1; found {probabilities[0]:g} to {probabilities[-1]:g}")
        for name, array in (("values", values), ("probabilities", probabilities)):
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    def __repr__(self) -> str:
        lo, hi = self.interval(0.9)
        return f"Distribution(median {self.median:.4g}, 90 % {lo:.4g} to {hi:.4g})"

    @classmethod
    def from_student(cls, point: float, scale: float, degrees: float, *, lo: float = 0.0, hi: float = 1.0) -> Distribution:
        """Student's t about `point`; what lies outside lo .. hi falls on the ends.

        >>> round(Distribution.from_student(0.5, 0.02, 4).quantile(0.975), 4)
        0.5555
        """
        return cls(point + scale * _student_quantiles(float(degrees)), PROBABILITIES).clipped(lo, hi)

    @classmethod
    def from_samples(cls, values: _Numbers, weights: _Numbers | None = None) -> Distribution:
        """The empirical distribution of draws, each a point mass of its weight."""
        drawn = np.asarray(values, dtype=float)
        weight = _shares(np.ones(len(drawn)) if weights is None else weights, len(drawn))
        places, where = np.unique(drawn[weight > 0], return_inverse=True)
        total = np.cumsum(np.bincount(where, weight[weight > 0]))
        above = total / total[-1]
        below = np.concatenate([[0.0], above[:-1]])
        return _polyline(np.repeat(places, 2), np.stack([below, above], axis=1).ravel())

    @classmethod
    def mixture(cls, parts: Sequence[Distribution], weights: _Numbers) -> Distribution:
        """One of the parts, each with the probability of its weight: their cumulative distributions averaged."""
        kept = [(part, share) for part, share in zip(parts, _shares(weights, len(parts)), strict=True) if share > 0]
        if len(kept) == 1:
            return kept[0][0]
        places = np.unique(np.concatenate([part.values for part, _ in kept]))
        before = sum((share * part._up_to(places, including=False) for part, share in kept), np.zeros(len(places)))
        after = sum((share * part._up_to(places, including=True) for part, share in kept), np.zeros(len(places)))
        return _polyline(np.repeat(places, 2), np.stack([before, after], axis=1).ravel())

    def quantile(self, probability: float) -> float:
        """The smallest value that is not exceeded with this probability."""
        return float(self.quantiles([probability])[0])

    def quantiles(self, probabilities: _Numbers) -> FloatArray:
        """One quantile per probability."""
        wanted = np.asarray(probabilities, dtype=float)
        if not ((wanted >= 0) & (wanted <= 1)).all():
            raise ValueError("a probability lies between 0 and 1")
        return _between(self.probabilities, self.values, wanted, side="left")

    def cdf(self, x: float) -> float:
        """Probability of a value of x or less."""
        return float(self._up_to(np.array([x], dtype=float), including=True)[0])

    def probability_above(self, x: float) -> float:
        """Probability of a value above x."""
        return 1.0 - self.cdf(x)

    def probability_within(self, lo: float, hi: float) -> float:
        """Probability of lo <= value <= hi."""
        return max(self.cdf(hi) - float(self._up_to(np.array([lo], dtype=float), including=False)[0]), 0.0)

    def interval(self, level: float) -> tuple[float, float]:
        """The central interval that holds the value with probability `level`."""
        lo, hi = self.quantiles([(1.0 - level) / 2.0, (1.0 + level) / 2.0])
        return float(lo), float(hi)

    def holds(self, value: float, level: float) -> bool:
        """Whether the central interval of probability `level` holds a value."""
        lo, hi = self.interval(level)
        return lo <= value <= hi

    @property
    def mean(self) -> float:
        """Expected value."""
        return float(np.sum(np.diff(self.probabilities) * (self.values[1:] + self.values[:-1]) / 2.0))

    @property
    def median(self) -> float:
        """The value with as much above as below."""
        return self.quantile(0.5)

    def density(self, grid: _Numbers) -> FloatArray:
        """Probability per unit about each point of a rising grid, for a figure; a point mass fills the cell it falls in."""
        at = np.asarray(grid, dtype=float)
        middles = (at[1:] + at[:-1]) / 2.0
        edges = np.concatenate([[2.0 * at[0] - middles[0]], middles, [2.0 * at[-1] - middles[-1]]])
        result: FloatArray = np.diff(self._up_to(edges, including=True)) / np.diff(edges)
        return result

    def crps(self, truth: float) -> float:
        """Continuous ranked probability score: the integral of (cdf(x) - [x >= truth]) squared; 0 is best.

        >>> Distribution.from_samples([0.25]).crps(0.5)
        0.25
        """
        reached, split = self.cdf(truth), int(np.searchsorted(self.values, truth, side="right"))
        values = np.insert(self.values, split, truth)
        probabilities = np.insert(self.probabilities, split, reached)
        below = _integral_of_square(values[: split + 1], probabilities[: split + 1])
        return below + _integral_of_square(values[split:], 1.0 - probabilities[split:])

    def clipped(self, lo: float, hi: float) -> Distribution:
        """What lies outside lo .. hi falls on the ends."""
        if lo <= self.values[0] and self.values[-1] <= hi:
            return self
        kinks = [x for x in (lo, hi) if self.values[0] < x < self.values[-1]]
        at = np.searchsorted(self.values, kinks, side="right")
        values, probabilities = (
            np.insert(self.values, at, kinks),
            np.insert(self.probabilities, at, [self.cdf(x) for x in kinks]),
        )
        return Distribution(np.clip(values, lo, hi), probabilities)

    def thinned(self, probabilities: _Numbers) -> Distribution:
        """The same, kept at these probabilities, 0, 1 and the ends' point masses only."""
        ends = [0.0, 1.0, self.cdf(float(self.values[0])), float(self._up_to(self.values[-1:], including=False)[0])]
        kept = np.unique(np.concatenate([np.asarray(probabilities, dtype=float), ends]))
        return Distribution(self.quantiles(kept), kept)

    def _up_to(self, x: FloatArray, *, including: bool) -> FloatArray:
        """Probability of a value <= x, or < x."""
        return _between(self.values, self.probabilities, x, side="right" if including else "left", below=0.0, above=1.0)


def _shares(weights: _Numbers, number: int) -> FloatArray:
    given = np.asarray(weights, dtype=float)
    if not number or given.shape != (number,) or not np.isfinite(given).all() or (given < 0).any() or given.sum() <= 0:
        raise ValueError(f"{number} parts need one finite weight each, none below 0 and not all 0; found {given}")
    result: FloatArray = given / given.sum()
    return result


def _between(
    knots: FloatArray, heights: FloatArray, x: FloatArray, *, side: str, below: float | None = None, above: float | None = None
) -> FloatArray:
    """Height of a polyline at x; where it jumps, the upper side of it for `right` and the lower for `left`."""
    at = np.searchsorted(knots, x, side="right" if side == "right" else "left")
    hi = np.clip(at, 1, len(knots) - 1)
    x0, x1, y0, y1 = knots[hi - 1], knots[hi], heights[hi - 1], heights[hi]
    run = np.where(x1 > x0, x1 - x0, 1.0)
    # Both ends are weighted, not y0 + slope * dx: a knot gives its height to the last bit, and equal heights stay equal.
    share = np.clip((x - x0) / run, 0.0, 1.0)
    inside = np.where(share == 1.0, y1, y0 + share * (y1 - y0))
    first, last = heights[0] if below is None else below, heights[-1] if above is None else above
    result: FloatArray = np.where(at == 0, first, np.where(at == len(knots), last, inside))
    return result


def _polyline(values: FloatArray, probabilities: FloatArray) -> Distribution:
    """Rounding of sums taken out at the ends and between neighbours, repeated knots dropped; thinned where still long."""
    rising = np.maximum.accumulate(np.clip(probabilities, 0.0, 1.0))
    rising[0], rising[-1] = 0.0, 1.0
    new = np.concatenate([[True], (np.diff(values) > 0) | (np.diff(rising) > 0)])
    new[-1] |= new.sum() == 1
    made = Distribution(values[new], rising[new])
    return made if len(values) <= MOST_KNOTS else made.thinned(PROBABILITIES)


def _integral_of_square(x: FloatArray, y: FloatArray) -> float:
    """Of a polyline y over x."""
    left, right = y[:-1], y[1:]
    return float(np.sum(np.diff(x) * (left * left + left * right + right * right)) / 3.0)


@lru_cache(maxsize=16)
def _student_quantiles(degrees: float) -> FloatArray:
    from scipy import stats

    inside = PROBABILITIES[1:-1]
    quantiles: FloatArray = np.asarray(stats.t.ppf(inside, degrees))
    # The tails beyond 1e-7 fold onto it: a distribution's values are finite.
    return np.concatenate([quantiles[:1], quantiles, quantiles[-1:]])
