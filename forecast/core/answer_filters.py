"""Which of a task's filters counts where one number is wanted: the same for answers scored here and for imported ones."""

from __future__ import annotations

from collections.abc import Iterable

_PREFERRED = ("none", "flexible-extract", "strict-match")


def preferred_filter(names: Iterable[str]) -> str:
    """Return the filter to take: no filter, then the one that reads an answer most leniently, else the first.

    >>> preferred_filter(["strict-match", "flexible-extract"]), preferred_filter(["maj@8", "score-first"])
    ('flexible-extract', 'maj@8')
    """
    known = list(names)
    return next((name for name in _PREFERRED if name in known), known[0])
