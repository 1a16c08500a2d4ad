"""What a forecast says: the records behind `forecast predict`, rendered by the command line and kept by the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from forecast.core.errors import UsageError

if TYPE_CHECKING:
    from forecast.core.distribution import Distribution
    from forecast.core.observations import FloatArray


class Verdict(StrEnum):
    """Whether this benchmark can be forecast from these runs."""

    PREDICTABLE = "predictable"
    UNCERTAIN = "uncertain"
    NOT_PREDICTABLE = "not-predictable"


@dataclass(frozen=True, kw_only=True)
class Target:
    """The model to forecast. Compute alone, or parameters with tokens, must be known; unknown numbers are None."""

    name: str
    params: float | None = None
    tokens: float | None = None
    flops: float | None = None


def check_threshold(accuracy: float) -> None:
    """Check that an accuracy can be a threshold.

    Raises:
        UsageError: it is not a fraction between 0 and 1.
    """
    if not 0.0 < accuracy < 1.0:
        raise UsageError(
            f"{accuracy:g} is not a threshold of accuracy", expected="a fraction between 0 and 1, e.g. 0.5 for 50 %"
        )


def measures_text(num_fewshot: int | None, chance: float | None) -> str:
    """Return how an accuracy was asked for, in words.

    >>> measures_text(5, 0.25), measures_text(None, None)
    ('5 shots, chance 25 %', 'unknown shots, unknown chance')
    """
    shots = "unknown shots" if num_fewshot is None else f"{num_fewshot} shot{'' if num_fewshot == 1 else 's'}"
    return f"{shots}, " + ("unknown chance" if chance is None else f"chance {100 * chance:.3g} %")


@dataclass(frozen=True, kw_only=True)
class IntervalEstimate:
    """A point with a central interval, in the metric's unit (nats, or a fraction in [0, 1])."""

    metric: str
    point: float
    lo: float
    hi: float


@dataclass(frozen=True, kw_only=True)
class BacktestSummary:
    """How the method did on the runs at hand: errors in accuracy as fractions; None where no origin could be scored."""

    origins: int
    """Rolling origins that could be scored."""
    mae: float | None
    """Mean absolute error of the method."""
    persistence_mae: float | None
    """Mean absolute error of repeating the largest run's value."""
    coverage: float | None
    """Share of held-out values inside their interval at the forecast's level."""
    other_tasks: int = 0
    """Other tasks of the family whose back-tests helped to scale the interval."""


@dataclass(frozen=True, kw_only=True)
class FittedOn:
    """What the forecast was fitted on."""

    n_checkpoints: int
    n_runs: int
    min_flops: float
    max_flops: float


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A fitted curve with bands, ready to draw: arrays of one length; `bands` maps a level to (lower, upper)."""

    x: FloatArray
    y: FloatArray
    bands: Mapping[float, tuple[FloatArray, FloatArray]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ForecastCurves:
    """The fitted steps behind a forecast, for drawing. A step that the method does not have is None."""

    nll_of_flops: Curve | None
    """x = training FLOPs, y = the forecast's NLL metric."""
    accuracy_of_nll: Curve | None
    """x = the NLL metric, y = accuracy."""
    accuracy_of_flops: Curve | None
    """x = training FLOPs, y = accuracy; bands are full predictive intervals."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """One target on one task: a number, its interval, and whether to believe it."""

    task: str
    family: str
    target: Target
    level: float
    """Nominal coverage of the intervals, e.g. 0.9."""
    nll: IntervalEstimate | None
    """None when the method has no NLL step."""
    accuracy: IntervalEstimate
    method: str
    verdict: Verdict
    reasons: tuple[str, ...]
    """Sentences."""
    backtest: BacktestSummary
    fitted_on: FittedOn
    warnings: tuple[str, ...] = ()
    quantiles: Mapping[float, float] = field(default_factory=dict)
    """Probability -> accuracy, the predictive distribution at the usual probabilities and those of the interval."""
    distribution: Distribution | None = field(default=None, compare=False, repr=False)
    """The predictive distribution of accuracy, whole; None in a record that was made without one."""
    curves: ForecastCurves | None = field(default=None, compare=False)
    num_fewshot: int | None = None
    """Solved examples in the prompt; None when unknown."""
    chance: float | None = None
    """Accuracy of guessing; None when unknown."""
    truth: float | None = None
    """The target's measured accuracy where it is known (holdout); never used to fit."""
    references: tuple[str, ...] = ()
    """Other families that lent strength."""
    without_references: IntervalEstimate | None = None
    """What the family's own runs say alone; None where no reference was used, or the own runs alone are too few."""

    def probability_above(self, accuracy: float) -> float:
        """Probability that the target exceeds an accuracy, given as a fraction.

        Raises:
            UsageError: an accuracy outside 0 to 1, or a forecast without its distribution.
        """
        check_threshold(accuracy)
        if self.distribution is None:
            raise UsageError("this forecast was made without its distribution", remedy="forecast again")
        return self.distribution.probability_above(accuracy)

    def __repr__(self) -> str:
        """Task, target, accuracy with its interval in per cent, and the verdict, in one line."""
        points = (100 * value for value in (self.accuracy.point, self.accuracy.lo, self.accuracy.hi))
        point, lo, hi = (f"{value:.1f}" for value in points)
        known = "" if self.truth is None else f", measured {100 * self.truth:.1f} %"
        where = f"{self.task}, {self.target.name}"
        return f"{where}: {point} % ({100 * self.level:g} %: {lo} to {hi}){known}, {self.verdict.value}"
