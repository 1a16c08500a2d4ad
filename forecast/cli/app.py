"""Runs the command line, and turns whatever goes wrong into one line and an exit code: the only place that does.

Imports nothing slow at its top: Ctrl-C while the rest is loading is answered here as well.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

from forecast.cli.streams import ReaderGoneError, prepare_streams
from forecast.core.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_RUNTIME, ForecastError
from forecast.core.printable import one_line

if TYPE_CHECKING:
    import typer

DEBUG_VARIABLE = "FORECAST_DEBUG"
"""Set to anything but 0, errors come with their traceback; `forecast --traceback ...` sets it."""
_DEFECT_CHARS = 400
"""Other libraries' messages can fill pages."""


def build_app() -> typer.Typer:
    """Build the application with all commands."""
    from forecast.cli.assembly import assemble

    return assemble()


def main() -> None:
    """Run the command line and exit: 0 ok, 1 runtime, 2 usage, 3 partial results, 130 interrupted."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    prepare_streams()
    code = _exit_code(_run)
    # What is still buffered can fail to be written, too; why the command failed matters more.
    code = code or _exit_code(_flush)
    atexit.register(_let_go)
    sys.exit(code)


def _run() -> int:
    try:
        build_app()()
    except SystemExit as stop:
        if stop.code == EXIT_INTERRUPTED:
            # Typer turns Ctrl-C into an exit of its own; one that came before or after it arrives as it is.
            raise KeyboardInterrupt from stop
        return stop.code if isinstance(stop.code, int) else EXIT_OK if stop.code is None else EXIT_RUNTIME
    return EXIT_OK


def _flush() -> int:
    sys.stdout.flush()
    return EXIT_OK


def _exit_code(work: Callable[[], int]) -> int:
    """Return the exit code of `work`, having said on stderr what went wrong."""
    try:
        return work()
    except ReaderGoneError as error:
        return error.exit_code
    except ForecastError as error:
        _say(f"error: {one_line(str(error))}")
        return error.exit_code
    except KeyboardInterrupt:
        _let_go()
        _say("interrupted; what was finished is kept, and the same command continues")
        return EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001  # the last place where it can be said in one line
        _say(_defect(error))
        return EXIT_RUNTIME


def _say(line: str) -> None:
    if os.environ.get(DEBUG_VARIABLE, "0") not in {"", "0"}:
        sys.stderr.write(traceback.format_exc())
    sys.stderr.write(line + "\n")


def _defect(error: Exception) -> str:
    """Describe an error that no `ForecastError` foresaw.

    >>> _defect(KeyError("acc"))
    "error: KeyError: 'acc'; this is not foreseen: `forecast --traceback ...` or FORECAST_DEBUG=1 shows where it happened"
    """
    error = getattr(error, "original", error)
    text = one_line(str(error))
    if len(text) > _DEFECT_CHARS:
        text = text[:_DEFECT_CHARS] + " ..."
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        text = one_line(f"{error.filename} cannot be used: {error.strerror}")
        return f"error: {text}; `forecast --traceback ...` or {DEBUG_VARIABLE}=1 shows where it happened"
    if isinstance(error, MemoryError):
        return f"error: there is not enough memory for this{f' ({text})' if text else ''}"
    known = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return f"error: {known}; this is not foreseen: `forecast --traceback ...` or {DEBUG_VARIABLE}=1 shows where it happened"


def _let_go() -> None:
    """From here on Ctrl-C ends the process without a word: there is nothing left to tidy."""
    with contextlib.suppress(ValueError):  # raised outside the main thread
        signal.signal(signal.SIGINT, signal.SIG_DFL)
