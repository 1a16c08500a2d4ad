"""Bars and errors share stderr: what is left there when a command fails is the error alone."""

from __future__ import annotations

import io

import pytest
from rich.table import Table

from forecast.cli import console
from forecast.cli.console import LineProgress, PlainConsole, TerminalProgress, styled
from forecast.core.progress import Progress


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
    monkeypatch.setattr(console, "stderr_console", lambda: PlainConsole(file=written, force_terminal=True, width=100))
    return written


def work(progress: Progress, failure: type[BaseException] | None) -> None:
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


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Standard error as a file."""
    written = io.StringIO()
    monkeypatch.setattr(console, "stderr_console", lambda: PlainConsole(file=written, width=100))
    return written


@pytest.mark.parametrize("fails", [False, True])
def test_in_a_log_an_ended_stage_is_one_line_and_a_failed_one_none(log: io.StringIO, fails: bool) -> None:
    progress = console.open_progress(quiet=False)
    assert isinstance(progress, LineProgress)
    try:
        work(progress, FloatingPointError if fails else None)
    except FloatingPointError:
        assert log.getvalue() == ""
    else:
        assert log.getvalue() == "outer: 1/3 things after 0 s\n"


def test_in_a_log_long_work_says_now_and_then_how_far_it_is(log: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_LINE_SECONDS", 0.0)
    with LineProgress().stage("scoring", 3, "items") as stage:
        stage.describe("[red]\x07")
        stage.advance(2)
    assert log.getvalue() == "scoring: 2/3 items after 0 s ([red]\\x07)\nscoring: 2/3 items after 0 s\n"


@pytest.mark.parametrize("progress", [TerminalProgress, LineProgress])
def test_nothing_to_do_shows_no_bar(terminal: io.StringIO, progress: type[Progress]) -> None:
    with progress().stage("idle", 0, "tasks"):
        pass
    assert terminal.getvalue() == ""


def test_a_bar_inside_another_goes_when_it_is_done(terminal: io.StringIO) -> None:
    work(TerminalProgress(), None)
    shown = visible(terminal.getvalue())
    assert any("outer" in line for line in shown)
    assert not any("inner" in line for line in shown)


def test_names_are_shown_as_they_are() -> None:
    written = io.StringIO()
    shown = PlainConsole(file=written, width=120)
    names = ("[red]", "[/]", ":smile:", "\x1b[31m", "a\nb", "\u202e", "\\[bold]", "http://x.y 12 'q'")
    table = Table("[bold]head[/]", title="[dim]title")
    for name in names:
        shown.say(name, styled(name, "bold"))
        shown.note(name, label=name)
        table.add_row(name)
    shown.print(table)
    text = written.getvalue()
    for name in ("[red]", "[/]", ":smile:", r"\x1b[31m", r"a\nb", r"\u202e", r"\[bold]", "[bold]head[/]", "[dim]title"):
        assert name in text
    assert not {char for char in text if ord(char) < 32} - {"\n"}


def test_long_names_are_broken_and_never_cut() -> None:
    written = io.StringIO()
    table = Table("name", "other")
    table.add_row("x" * 300, "y" * 50)
    PlainConsole(file=written, width=60).print(table)
    assert written.getvalue().count("x") == 300
    assert "…" not in written.getvalue()
