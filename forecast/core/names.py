"""Lists of names as a caller may give them: a list, or one text in which commas separate them."""

from __future__ import annotations

from collections.abc import Sequence

from forecast.core.errors import UsageError


def read_names(argument: str, given: str | Sequence[str] | None) -> list[str] | None:
    """Return the names that are meant; None where none were given, which means all.

    Raises:
        UsageError: they were given, but hold no name: that must not mean all.

    >>> read_names("tasks", "arc_easy, sciq"), read_names("tasks", ["piqa"]), read_names("tasks", None)
    (['arc_easy', 'sciq'], ['piqa'], None)
    """
    if given is None:
        return None
    parts = given.split(",") if isinstance(given, str) else list(given)
    wrong = [part for part in parts if not isinstance(part, str)]
    if wrong:
        raise UsageError(f"`{argument}=` holds {wrong[0]!r}", expected="names as text")
    names = [part.strip() for part in parts if part.strip()]
    if not names:
        raise UsageError(f"`{argument}=` is {given!r}", expected="at least one name", remedy="leave it out for all")
    return names
