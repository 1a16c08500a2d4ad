"""Names that nobody knows: which known ones look alike, and the one way in which all commands say so."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

from forecast.core.errors import UsageError

LISTED = 12
"""Known names that a message lists before it breaks off."""


def nearest(name: str, known: Iterable[str], *, count: int = 2, cutoff: float = 0.55) -> list[str]:
    """Return known names that look alike, best first; capitals and `-` or `_` make no difference.

    >>> nearest("ARC-easy", ["arc_easy", "piqa"]), nearest("zzz", ["pythia"])
    (['arc_easy'], [])
    """
    spelled: dict[str, str] = {}
    for entry in known:
        spelled.setdefault(_plain(entry), entry)
    if _plain(name) in spelled:
        return [spelled[_plain(name)]]
    return [spelled[near] for near in difflib.get_close_matches(_plain(name), spelled, n=count, cutoff=cutoff)]


def did_you_mean(name: str, known: Iterable[str], *, count: int = 2, cutoff: float = 0.55) -> str:
    """Return the question that names what is nearest; empty where nothing looks alike.

    >>> did_you_mean("pithia", ["pythia", "olmo2"])
    "did you mean 'pythia'?"
    """
    near = nearest(name, known, count=count, cutoff=cutoff)
    return "did you mean " + " or ".join(f"'{entry}'" for entry in near) + "?" if near else ""


def suggest(name: str, known: Collection[str], *, kind: str) -> str:
    """Return the remedy for an unknown name: what is nearest, or else what there is.

    >>> suggest("pithia", ["pythia", "olmo2"], kind="family"), suggest("zzz", ["pythia", "olmo2"], kind="family")
    ("did you mean 'pythia'?", 'each family: olmo2, pythia')
    """
    return did_you_mean(name, known) or f"each {kind}: {listed(known)}"


def listed(known: Collection[str]) -> str:
    """Return known names in order, cut where there are many.

    >>> listed({"b", "a"})
    'a, b'
    """
    names = sorted(known)
    return ", ".join(names[:LISTED]) + (", ..." if len(names) > LISTED else "")


def require(kind: str, wanted: Iterable[str], known: Collection[str]) -> None:
    """Check that all that is wanted is known.

    Raises:
        UsageError: a name is unknown; it names what is nearest and what is known.

    >>> require("task", ["piqua"], ["piqa"])
    Traceback (most recent call last):
    forecast.core.errors.UsageError: unknown task 'piqua'; expected one of piqa; did you mean 'piqa'?
    """
    for name in wanted:
        if name not in known:
            raise UsageError(f"unknown {kind} '{name}'", expected=f"one of {listed(known)}", remedy=did_you_mean(name, known))


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")
