"""Errors a user can cause or repair, and the exit code of each.

The command line prints a `ForecastError` as one line and exits with its code; anything else is a defect of ours, whose type
it names, with its traceback where that is asked for. A message names what was found, what was expected and what to do about it.
"""

from __future__ import annotations

import re

EXIT_OK = 0
EXIT_RUNTIME = 1
EXIT_USAGE = 2
EXIT_PARTIAL = 3
EXIT_INTERRUPTED = 130

ARGUMENT = r"`([a-z][a-z0-9_]*)=`"
"""How a message names an argument: `tokens=`. The command line writes --tokens in its place."""


class ForecastError(Exception):
    """A failure that the user can understand and act on.

    >>> str(ForecastError("no folder 'x'", expected="a checkpoint folder", remedy="check the path"))
    "no folder 'x'; expected a checkpoint folder; check the path"
    >>> UsageError("`tokens=` is 300", expected="tokens").argument
    'tokens'
    """

    exit_code = EXIT_RUNTIME

    def __init__(self, found: str, *, expected: str = "", remedy: str = "", argument: str = "") -> None:
        """Keep the parts, and join them into the one line that is shown.

        Args:
            found: what was found.
            expected: what was expected instead.
            remedy: what to do about it.
            argument: name of the argument at fault; the first that the message names as `name=` when left out.
        """
        self.found = found
        self.expected = expected
        self.remedy = remedy
        parts = [found]
        if expected:
            parts.append(f"expected {expected}")
        if remedy:
            parts.append(remedy)
        text = "; ".join(parts)
        named = re.search(ARGUMENT, text)
        self.argument = argument or (named[1] if named else "")
        super().__init__(text)


class UsageError(ForecastError):
    """The request makes no sense as given: an unknown name, conflicting options, a bad value."""

    exit_code = EXIT_USAGE


class InputError(ForecastError):
    """A file, folder or table that the user handed over is missing, malformed or out of range."""


class CheckpointError(ForecastError):
    """One checkpoint cannot be loaded or scored; the others of its family go on."""


class HubError(ForecastError):
    """The model hub refused, failed or could not be reached."""


class StoreError(ForecastError):
    """The results file is locked, damaged, newer than this program, or cannot be written."""


class FitError(ForecastError):
    """A law cannot be fitted to these points, or its parameters are not identified by them."""


class NotForecastableError(ForecastError):
    """There is not enough to forecast from; the message says what is missing."""


class PartialResultError(ForecastError):
    """Some of the work is done and stored; the message names what failed."""

    exit_code = EXIT_PARTIAL
