"""Bars and errors share stderr: what is left there when a command fails is the error alone."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from forecast.cli import console
from forecast.cli.console import TerminalProgress


def visible(written: str) -> list[str]:
    """What a terminal shows of it: a cleared line, or one that the cursor went back over, is gone."""
    lines: list[str] = []
    for line in written.split("\n"):
        up = line.count("\x1b[1A\x1b[2K")
        del lines[max(0, len(lines) - up) :]
        lines.append(line.rsplit("\x1b[2K", 1)[-1])
    return [line for line in lines if line.strip()]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    written = io.StringIO()
    monkeypatch.setattr(console, "stderr_console", lambda: Console(file=written, force_terminal=True, width=100))
    return written


def work(progress: TerminalProgress, failure: type[BaseException] | None) -> None:
    with progress.stage("outer", 3, "things") as outer, progress.stage("inner", 2):
        outer.advance()
        if failure is not None:
            raise failure


def test_a_failure_takes_its_bars_away(terminal: io.StringIO) -> None:
    with pytest.raises(FloatingPointError):
        work(TerminalProgress(), FloatingPointError)
    assert not any("outer" in line or "inner" in line for line in visible(terminal.getvalue()))


@pytest.mark.parametrize("failure", [None, KeyboardInterrupt])
def test_a_finished_or_interrupted_bar_stays(terminal: io.StringIO, failure: type[BaseException] | None) -> None:
    if failure is None:
        work(TerminalProgress(), None)
    else:
        with pytest.raises(failure):
            work(TerminalProgress(), failure)
    assert any("outer" in line and "1/3" in line for line in visible(terminal.getvalue()))


@pytest.mark.parametrize("fails", [False, True])
def test_where_stderr_is_no_terminal_a_failed_bar_says_nothing(monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    written = io.StringIO()
    monkeypatch.setattr(console, "stderr_console", lambda: Console(file=written, width=100))
    try:
        work(TerminalProgress(), FloatingPointError if fails else None)
    except FloatingPointError:
        assert written.getvalue().strip() == ""
    else:
        assert "outer" in written.getvalue()
