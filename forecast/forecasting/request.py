"""How a forecast is to be made, whatever it is a forecast of."""

from __future__ import annotations

from dataclasses import dataclass

from forecast.core.errors import UsageError
from forecast.core.scale import check_scale
from forecast.forecasting.registry import get_method


@dataclass(frozen=True, kw_only=True)
class ForecastRequest:
    """Method, interval and measures of a forecast.

    Raises:
        UsageError: unknown method, a level outside (0, 1), a negative recipe shift, or no compute that could be meant.
    """

    method: str = "auto"
    """`auto` or a name of `all_methods`."""
    level: float = 0.9
    """Nominal coverage of the intervals, between 0 and 1."""
    seed: int = 0
    """Of everything random."""
    metric: str | None = None
    """Accuracy metric; None takes that of the task's card, else the first measured."""
    recipe_shift: float = 0.0
    """Standard deviation, as a fraction, of what another recipe (data mix, annealing) may move the target by."""
    fit_max_flops: float | None = None
    """Fit on checkpoints of at most so much compute."""
    num_fewshot: int | None = None
    """Shots, where a task was measured with several; None takes the card's, else those of most runs."""
    chance: float | None = None
    """Accuracy of guessing on the named tasks; None takes the data's, else the card's."""

    def __post_init__(self) -> None:
        """Check what can be checked before any data are read."""
        if not 0.0 < self.level < 1.0:
            raise UsageError(f"level is {self.level}", expected="a number between 0 and 1, e.g. 0.9")
        if not 0.0 <= self.recipe_shift < 1.0:
            raise UsageError(
                f"recipe shift is {self.recipe_shift}", expected="a fraction of at least 0, e.g. 0.02 for two points"
            )
        if self.fit_max_flops is not None:
            check_scale("`fit_max_flops=`", flops=self.fit_max_flops)
        if self.method != "auto":
            get_method(self.method)


AUTO = ForecastRequest()
"""What is done where nothing is said."""
