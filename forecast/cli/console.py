"""How things look: progress and notices on stderr, results on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from forecast.core.plain_json import to_plain
from forecast.core.progress import Progress, SilentProgress, Stage


def stderr_console() -> Console:
    """Return the console for progress, notices and errors."""
    return Console(stderr=True)


def stdout_console() -> Console:
    """Return the console for results; wide when stdout is no terminal, so that tables are not cut."""
    return Console() if sys.stdout.isatty() else Console(width=160)


class _BarStage:
    def __init__(self, bars: RichProgress, task: TaskID) -> None:
        self._bars = bars
        self._task = task

    def advance(self, amount: float = 1.0) -> None:
        """Move the bar."""
        self._bars.advance(self._task, amount)

    def describe(self, text: str) -> None:
        """Replace the text behind the bar."""
        self._bars.update(self._task, detail=text)

    def retotal(self, total: float) -> None:
        """Correct the bar's length."""
        self._bars.update(self._task, total=total)


class TerminalProgress:
    """Bars on stderr, one below the other for nested stages; where stderr is no terminal, one line as a stage ends."""

    def __init__(self) -> None:
        """Open no bar yet."""
        self._console = stderr_console()
        self._live: RichProgress | None = None
        self._depth = 0

    @contextmanager
    def stage(self, name: str, total: float | None, unit: str = "") -> Iterator[Stage]:
        """Show one bar while the stage lasts."""
        if self._live is None:
            self._live = RichProgress(
                TextColumn("[bold]{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[unit]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("[dim]{task.fields[detail]}"),
                console=self._console,
                transient=False,
            )
            self._live.start()
        self._depth += 1
        task = self._live.add_task(name, total=total, unit=unit, detail="")
        try:
            yield _BarStage(self._live, task)
        except Exception:
            # What went wrong is said in one line; a bar that stopped half-way is no part of it.
            self._live.live.transient = True
            raise
        finally:
            self._depth -= 1
            if self._depth == 0:
                self._live.stop()
                self._live = None

    def notice(self, text: str) -> None:
        """Print one line above the bars."""
        self._console.print(f"[yellow]note:[/] {text}", highlight=False, soft_wrap=True)


def open_progress(*, quiet: bool) -> Progress:
    """Return bars, or nothing when the user asked for quiet."""
    return SilentProgress() if quiet else TerminalProgress()


def print_json(value: object) -> None:
    """Write one JSON document to stdout."""
    sys.stdout.write(json.dumps(to_plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
