"""Beliefs about a benchmark's whole curve, from guessing to solved, before any run is seen: three kinds of curves.

They are wide and round on purpose: what a benchmark is like has to come from its own runs. Units: decades of compute.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

import numpy as np

from forecast.core.observations import BoolArray, FloatArray


class CurveKind(Enum):
    """How a benchmark answers to compute."""

    GRADUAL = "gradual"
    SUDDEN = "sudden"
    FALLING = "falling"


@dataclass(frozen=True, kw_only=True)
class Normal:
    """Mean and standard deviation."""

    mean: float
    sd: float


LOG_STEEPNESS = {
    CurveKind.GRADUAL: Normal(mean=float(np.log(0.6)), sd=0.6),
    CurveKind.SUDDEN: Normal(mean=float(np.log(2.2)), sd=0.9),
    CurveKind.FALLING: Normal(mean=0.0, sd=0.8),
}
"""Log of k in g(k (x - m)), per decade. An exponent of .15 to .35 in C (`priors.py`) is k = .35 to .8: usual benchmarks take
decades. What is called emergent rises within one (Wei 2022, arXiv:2206.07682): k of 2 to 6."""
ONSET_GRADUAL = (-4.0, 4.0)
"""Decades from the largest run to a gradual curve's middle, uniform."""
ONSET = Normal(mean=0.4, sd=1.2)
"""The same for curves that turn within the range of scales that people measure: a third of those that have not turned yet
turns within the next decade, as 31 % did in small worlds trained for the purpose."""
LATE_SHARE, LATE_ONSET = 0.2, (1.0, 8.0)
"""Share of the curves that turn anywhere beyond that, most of them where nobody trains: stuck capabilities stay stuck."""
LOG_SHIFT = Normal(mean=float(np.log(0.25)), sd=0.6)
"""Log of how far seeds shift a run along the curve, in decades: .2 to .3 was measured on sudden rises."""
LOG_SCATTER = Normal(mean=float(np.log(0.02)), sd=0.8)
"""Log of the scatter between runs in accuracy, in units of sqrt(p (1 - p)): one point at an accuracy of one half."""
FLOOR_SD = 0.03
"""How far the floor lies from chance; small models fall below guessing on some benchmarks."""
FLOOR_SD_UNKNOWN = 0.2
"""The same about the lowest accuracy seen, where chance is unknown."""
CEILING = Normal(mean=0.8, sd=0.2)
LOW_CEILING = Normal(mean=0.4, sd=0.35)
"""Some benchmarks are not solved at any scale that is trained: formats that the models do not know, labels that are wrong."""
LOW_CEILING_SHARE = 0.5
FALL_FROM, FALL_BY = Normal(mean=0.1, sd=0.15), Normal(mean=0.12, sd=0.1)
"""A falling curve starts this far above chance, and loses this much."""
FALL_FROM_UNKNOWN = 0.4
"""Where it starts if chance is unknown."""

FALLING_PROBABILITY = 0.07
"""Inverse scaling is rare, and real: of the usual benchmarks TruthfulQA falls with scale in many families."""
SUDDEN_EXACT, SUDDEN_CHOICE = 0.6, 0.15
"""Probability of a sudden rise where guessing scores nothing, so that whole answers must be produced (Schaeffer 2023,
arXiv:2304.15004: a sharp metric jumps), and where the answer is one of a few choices."""
EXACT_BELOW = 0.05
"""What guessing scores at most where answers must be produced."""

SIZE = 4000
"""Curves in the prior sample of each kind."""


@dataclass(frozen=True, kw_only=True)
class PriorCurves:
    """A fixed sample of the parameters that enter a curve nonlinearly; (N,) each."""

    steepness: FloatArray
    onset: FloatArray
    """Decades beyond the largest run."""
    gompertz: BoolArray
    """Shape: exp(-exp(-z)), which is the direct law's exp(-A C^-alpha), or else logistic."""
    scatter: FloatArray
    shift: FloatArray
    low_ceiling: BoolArray


@lru_cache(maxsize=8)
def prior_curves(kind: CurveKind, size: int = SIZE) -> PriorCurves:
    """Draw the sample, the same in every process: forecasts differ by their runs and never by the luck of these draws."""
    from scipy import special

    rng = np.random.default_rng([14, list(CurveKind).index(kind), size])
    # Onsets are stratified: an even cover of where the curve turns matters most.
    even = (rng.permutation(size) + rng.random(size)) / size
    if kind is CurveKind.GRADUAL:
        onset = ONSET_GRADUAL[0] + (ONSET_GRADUAL[1] - ONSET_GRADUAL[0]) * even
    else:
        onset = ONSET.mean + ONSET.sd * special.ndtri(even)
        late = rng.random(size) < LATE_SHARE
        onset[late] = LATE_ONSET[0] + (LATE_ONSET[1] - LATE_ONSET[0]) * rng.random(int(late.sum()))
    return PriorCurves(
        steepness=_log_normal(LOG_STEEPNESS[kind], size, rng),
        onset=onset,
        gompertz=rng.random(size) < 0.5,
        scatter=_log_normal(LOG_SCATTER, size, rng),
        shift=_log_normal(LOG_SHIFT, size, rng),
        low_ceiling=rng.random(size) < LOW_CEILING_SHARE if kind is not CurveKind.FALLING else np.zeros(size, dtype=np.bool_),
    )


def kind_probabilities(guess: float) -> dict[CurveKind, float]:
    """Prior probabilities of the kinds, given what guessing scores.

    >>> kind_probabilities(0.25)[CurveKind.SUDDEN] < kind_probabilities(0.0)[CurveKind.SUDDEN]
    True
    """
    sudden = SUDDEN_EXACT if guess < EXACT_BELOW else SUDDEN_CHOICE
    return {
        CurveKind.GRADUAL: 1.0 - sudden - FALLING_PROBABILITY,
        CurveKind.SUDDEN: sudden,
        CurveKind.FALLING: FALLING_PROBABILITY,
    }


def level_priors(kind: CurveKind, low_ceiling: BoolArray, chance: float, lowest: float) -> tuple[FloatArray, ...]:
    """Means and standard deviations (N,) of the level before the turn and of the level after it.

    Args:
        kind: rising or falling.
        low_ceiling: (N,) curves that may end anywhere.
        chance: accuracy of guessing; NaN when unknown.
        lowest: lowest accuracy seen.
    """
    known = bool(np.isfinite(chance))
    floor = chance if known else lowest
    ones = np.ones(low_ceiling.size)
    if kind is CurveKind.FALLING:
        start = floor + FALL_FROM.mean if known else FALL_FROM_UNKNOWN
        return start * ones, FALL_FROM.sd * ones, max(start - FALL_BY.mean, 0.02) * ones, FALL_BY.sd * ones
    ceiling = np.where(low_ceiling, LOW_CEILING.mean, max(CEILING.mean, floor + 0.1))
    return (
        floor * ones,
        (FLOOR_SD if known else FLOOR_SD_UNKNOWN) * ones,
        ceiling,
        np.where(low_ceiling, LOW_CEILING.sd, CEILING.sd),
    )


def _log_normal(prior: Normal, size: int, rng: np.random.Generator) -> FloatArray:
    result: FloatArray = np.exp(prior.mean + prior.sd * rng.standard_normal(size))
    return result
