"""Notices of the library as Python warnings: a caller without a terminal must see them too."""

from __future__ import annotations

import sys
import warnings

from forecast.core.progress import SilentProgress


class ForecastNotice(UserWarning):
    """Something the reader of a result should know: rows left out, a definition chosen, a file replaced."""


class WarningProgress(SilentProgress):
    """Shows no bars; each notice becomes a warning, once for each text."""

    def notice(self, text: str) -> None:
        """Warn as from the line that called the library, and keep the text."""
        if text not in self.notices:
            super().notice(text)
            warnings.warn(text, ForecastNotice, stacklevel=_levels_to_the_caller())


def _levels_to_the_caller() -> int:
    """Frames from `notice` to the first outside this package."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "forecast":
        level, frame = level + 1, frame.f_back
    return level
