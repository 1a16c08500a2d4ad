"""How things look: progress and notices on stderr, results on stdout."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Task, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Column, Table
from rich.text import Text

from forecast.cli.flags import with_flags
from forecast.core.plain_json import to_plain
from forecast.core.printable import printable
from forecast.core.progress import Progress, SilentProgress, Stage

_DETAIL: dict[str, Any] = {"no_wrap": True, "overflow": "ellipsis", "max_width": 40}
"""A long name behind a bar gives way to the bar."""
_LINE_SECONDS = 60.0
"""Between two lines of a stage in a log."""
_FILE_WIDTH = 10_000
"""Columns where nobody's window ends: a table in a file or a pipe is as wide as its cells."""


class PlainConsole(Console):
    """Shows every string as it is, in cells and titles too: names come from files that anyone may have written.

    No markup, no emoji codes, no highlighting, no control characters. What is to be coloured is a `styled` text.
    """

    def __init__(self, **settings: Any) -> None:
        """Take rich's settings; those that would read a meaning into text are off."""
        super().__init__(markup=False, emoji=False, highlight=False, **settings)

    def render_str(self, text: str, **settings: Any) -> Text:
        """Return the text of a string, the only way by which rich makes one."""
        return super().render_str(printable(with_flags(text)), **settings)

    def print(self, *objects: Any, **settings: Any) -> None:
        """Print; a table's long names are broken over lines, never cut."""
        for entry in objects:
            if isinstance(entry, Table):
                for column in entry.columns:
                    column.overflow = "fold"
        super().print(*objects, **settings)

    def say(self, *parts: str | Text) -> None:
        """Print the parts in one line, however long, with spaces between them."""
        self.print(*parts, soft_wrap=True)

    def note(self, text: str, *, label: str = "note:") -> None:
        """Print a line that the reader should not miss."""
        self.say(styled(label, "yellow"), text)


def styled(text: str, style: str) -> Text:
    """Return text in a style such as `bold` or `red`, its control characters as escapes."""
    return Text(printable(text), style=style)


def stderr_console() -> PlainConsole:
    """Return the console for progress, notices and errors."""
    return PlainConsole(stderr=True)


def stdout_console() -> PlainConsole:
    """Return the console for results; wide when stdout is not a terminal, so that tables are not cut."""
    return PlainConsole() if sys.stdout.isatty() else PlainConsole(width=_FILE_WIDTH)


class _BarStage:
    def __init__(self, bars: RichProgress, task: TaskID) -> None:
        self._bars = bars
        self._task = task

    def advance(self, amount: float = 1.0) -> None:
        """Move the bar."""
        self._bars.advance(self._task, amount)

    def describe(self, text: str) -> None:
        """Replace the text behind the bar."""
        self._bars.update(self._task, detail=printable(text))

    def retotal(self, total: float) -> None:
        """Correct the bar's length."""
        self._bars.update(self._task, total=total)


class _AmountColumn(MofNCompleteColumn):
    """How much of how much is done; nothing where nobody knows how much there is."""

    def render(self, task: Task) -> Text:
        """Show `done/total`."""
        return Text("") if task.total is None else super().render(task)


class TerminalProgress:
    """Bars on stderr, one below the other for nested stages."""

    def __init__(self) -> None:
        """Open no bar yet."""
        self._console = stderr_console()
        self._live: RichProgress | None = None
        self._depth = 0

    @contextmanager
    def stage(self, name: str, total: float | None, unit: str = "") -> Iterator[Stage]:
        """Show one bar while the stage lasts; none where there is nothing to do."""
        if total == 0:
            with SilentProgress().stage(name, total, unit) as silent:
                yield silent
            return
        if self._live is None:
            self._live = RichProgress(
                TextColumn("{task.description}", style="bold", markup=False),
                BarColumn(),
                _AmountColumn(),
                TextColumn("{task.fields[unit]}", markup=False),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[detail]}", style="dim", markup=False, table_column=Column(**_DETAIL)),
                console=self._console,
                transient=False,
            )
            self._live.start()
        self._depth += 1
        task = self._live.add_task(printable(name), total=total, unit=unit, detail="")
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
            else:
                # The bar around it goes on, and may have hundreds of stages inside.
                self._live.remove_task(task)

    def notice(self, text: str) -> None:
        """Print one line above the bars."""
        self._console.note(text)


class _LineStage:
    def __init__(self, console: PlainConsole, name: str, total: float | None, unit: str) -> None:
        self._console, self._name, self._total, self._unit = console, name, total, unit
        self._done, self._detail = 0.0, ""
        self._started = self._said = time.monotonic()

    def advance(self, amount: float = 1.0) -> None:
        """Count, and say now and then how far it is."""
        self._done += amount
        if time.monotonic() - self._said >= _LINE_SECONDS:
            self.say()

    def describe(self, text: str) -> None:
        """Keep the text for the next line."""
        self._detail = text

    def retotal(self, total: float) -> None:
        """Correct the amount of work."""
        self._total = total

    def say(self, *, ended: bool = False) -> None:
        """Print one line."""
        self._said = time.monotonic()
        amount = "" if self._total is None else f" {self._done:,.0f}/{self._total:,.0f} {self._unit}".rstrip()
        detail = f" ({self._detail})" if self._detail and not ended else ""
        self._console.say(f"{self._name}:{amount} after {self._said - self._started:,.0f} s{detail}")


class LineProgress:
    """Lines on stderr where that is a file or a pipe: one as a stage ends, and one a minute while it lasts."""

    def __init__(self) -> None:
        """Say nothing yet."""
        self._console = stderr_console()
        self._depth = 0

    @contextmanager
    def stage(self, name: str, total: float | None, unit: str = "") -> Iterator[Stage]:
        """Say when the stage has ended, if it is not part of another; what failed says so itself."""
        stage = _LineStage(self._console, name, total, unit)
        self._depth += 1
        try:
            yield stage
        finally:
            self._depth -= 1
        if self._depth == 0 and total != 0:
            stage.say(ended=True)

    def notice(self, text: str) -> None:
        """Print one line."""
        self._console.note(text)


def open_progress(*, quiet: bool) -> Progress:
    """Return bars, or lines where nobody watches, or nothing when the user asked for quiet."""
    if quiet:
        return SilentProgress()
    return TerminalProgress() if stderr_console().is_terminal else LineProgress()


def print_json(value: object) -> None:
    """Write one JSON document to stdout; what a terminal or an encoding could stumble over, with JSON's own escapes."""
    ascii_only = not (sys.stdout.encoding or "").lower().startswith("utf")
    text = json.dumps(_spelled(to_plain(value)), indent=2, ensure_ascii=ascii_only, allow_nan=False)
    for char in set(text) - {"\n"}:
        if printable(char) != char:
            text = text.replace(char, json.dumps(char)[1:-1])
    sys.stdout.write(text + "\n")


def _spelled(value: object) -> object:
    """Write the arguments that sentences name as options; keys and other values stay as they are."""
    if isinstance(value, Mapping):
        return {key: _spelled(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [with_flags(entry) if isinstance(entry, str) else _spelled(entry) for entry in value]
    return value
