"""Checks of arguments that several verbs share."""

from __future__ import annotations

from forecast.core.errors import UsageError
from forecast.laws.bootstrap import MIN_REPLICATES


def check_level(level: float) -> None:
    """Check the nominal coverage of intervals.

    Raises:
        UsageError: it is not a fraction between 0 and 1.
    """
    if not 0 < level < 1:
        raise UsageError(f"level {level}", expected="a number between 0 and 1, such as 0.9", argument="level")


def check_replicates(replicates: int) -> None:
    """Check the number of bootstrap replicates.

    Raises:
        UsageError: too few to say anything, and not 0.
    """
    if replicates != 0 and replicates < MIN_REPLICATES:
        raise UsageError(
            f"{replicates} bootstrap replicates", expected=f"0 for none, or at least {MIN_REPLICATES}", argument="replicates"
        )
