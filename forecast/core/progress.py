"""Progress of long work, as the library reports it; the command line decides how it looks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Stage(Protocol):
    """One bar: work that has a name and an amount."""

    def advance(self, amount: float = 1.0) -> None:
        """Record that `amount` more units are done."""

    def describe(self, text: str) -> None:
        """Replace the short text shown behind the bar (current item, rate, loss)."""

    def retotal(self, total: float) -> None:
        """Correct the amount of work once it is known."""


class Progress(Protocol):
    """A place to open stages on and to leave notices; implementations must never write to stdout."""

    def stage(self, name: str, total: float | None, unit: str = "") -> AbstractContextManager[Stage]:
        """Open a bar; `total` in `unit`s, None when not known yet."""

    def notice(self, text: str) -> None:
        """Say one line that the user should read even when bars are off."""


class _SilentStage:
    def advance(self, amount: float = 1.0) -> None:
        """Show nothing."""

    def describe(self, text: str) -> None:
        """Show nothing."""

    def retotal(self, total: float) -> None:
        """Show nothing."""


class SilentProgress:
    """Shows nothing and keeps the notices, for library callers and tests."""

    def __init__(self) -> None:
        """Start with no notices."""
        self.notices: list[str] = []

    @contextmanager
    def stage(self, name: str, total: float | None, unit: str = "") -> Iterator[Stage]:
        """Open a stage that shows nothing."""
        yield _SilentStage()

    def notice(self, text: str) -> None:
        """Keep the notice."""
        self.notices.append(text)
