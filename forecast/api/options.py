"""Options that several workflows share, and how their text is read."""

from __future__ import annotations

from collections.abc import Sequence

from forecast.core.errors import UsageError
from forecast.laws import SoftValue
from forecast.laws.bootstrap import MIN_REPLICATES

_MOST_REPLICATES = 100_000
"""The ends of a 99.9 % interval are then known from 50 replicates each."""


def check_level(level: float) -> None:
    """Check the nominal coverage of intervals.

    Raises:
        UsageError: it is no fraction between 0 and 1.
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


def parse_assignments(texts: Sequence[str], what: str) -> dict[str, str]:
    """Split `name=value` options.

    Raises:
        UsageError: an entry has no `=`.

    >>> parse_assignments(["E=1.7"], "--fix")
    {'E': '1.7'}
    """
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise UsageError(f"{what} {text!r} cannot be read", expected=f"{what} NAME=VALUE")
        found[name.strip()] = value.strip()
    return found


def parse_soft(texts: Sequence[str]) -> dict[str, SoftValue]:
    """Read `name=mean:sd` options.

    >>> parse_soft(["ceiling=0.95:0.03"])["ceiling"].sd
    0.03
    """
    found = {}
    for name, text in parse_assignments(texts, "--soft").items():
        mean, _, sd = text.partition(":")
        try:
            found[name] = SoftValue(mean=float(mean), sd=float(sd))
        except ValueError:
            raise UsageError(f"--soft {name}={text} cannot be read", expected="--soft NAME=MEAN:SD") from None
    return found


def parse_fixed(texts: Sequence[str]) -> dict[str, float]:
    """Read `name=value` options as numbers.

    >>> parse_fixed(["floor=0.25"])
    {'floor': 0.25}
    """
    found = {}
    for name, text in parse_assignments(texts, "--fix").items():
        try:
            found[name] = float(text)
        except ValueError:
            raise UsageError(f"--fix {name}={text} cannot be read", expected="a number") from None
    return found
