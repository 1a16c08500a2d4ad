"""Options of the form NAME=VALUE."""

from __future__ import annotations

from collections.abc import Sequence

from forecast.core.errors import UsageError


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


def parse_soft(texts: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Read `name=mean:sd` options.

    >>> parse_soft(["ceiling=0.95:0.03"])
    {'ceiling': (0.95, 0.03)}
    """
    found = {}
    for name, text in parse_assignments(texts, "--soft").items():
        mean, _, sd = text.partition(":")
        try:
            found[name] = (float(mean), float(sd))
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
