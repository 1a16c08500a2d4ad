"""Names that someone chose badly or with intent, through every command that prints them: shown as they are, and harmless."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from matplotlib.cbook import is_math_text
from rich.cells import cell_len
from rich.table import Table

from forecast.cli.commands import eval_command
from forecast.cli.console import PlainConsole, print_json, styled
from forecast.cli.flags import remember_options
from forecast.cli.text_scores import print_text_table
from forecast.core.printable import printable
from forecast.report.figure_text import figure_text

Command = Callable[..., int]
HOSTILE = "[/red][red]a[/b] :smile: \x1b[31m\n\t\u202e$x_{1$ =cmd('x') <b>&amp; \u6a21\U0001f600" + "x" * 200
ANY_TEXT = st.text(st.characters(codec=None), max_size=40)


@given(ANY_TEXT, ANY_TEXT)
def test_any_text_is_shown_as_it_is(name: str, other: str) -> None:
    # What has no width of its own, such as half a Hangul syllable, leaves no room for itself in a table.
    assume(cell_len(printable(other)) > 0 or not other)
    remember_options([])
    written = io.StringIO()
    console = PlainConsole(file=written, width=10_000)
    table = Table(name, title=name, caption=name)
    table.add_row(other)
    table.add_row(styled(other, "red"))
    console.print(table)
    console.say(name, styled(other, "bold"))
    console.note(name, label=other)
    text = written.getvalue()
    assert not {char for char in text if ord(char) < 32 or char in "\x7f\u202e"} - {"\n"}
    assert f"{printable(name)} {printable(other)}" in text
    assert text.count(printable(other)) >= 4


@given(ANY_TEXT)
def test_any_text_is_no_formula(name: str) -> None:
    shown = figure_text(name)
    assert not is_math_text(shown)
    assert shown.replace(r"\$", "$") == printable(name)


@given(ANY_TEXT, st.sampled_from(["utf-8", "ascii", "latin-1"]))
def test_any_text_comes_back_from_json(name: str, encoding: str) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    with contextlib.redirect_stdout(stream):
        print_json({name: [name]})
    stream.flush()
    text = stream.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    assert json.loads(text) == {name: [name]}
    assert printable(text.replace("\n", "")) == text.replace("\n", "")


@pytest.fixture
def harmless(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """Return what was written on stdout; neither stream may hold anything that a terminal obeys."""

    def read() -> str:
        captured = capsys.readouterr()
        for text in captured:
            assert not {char for char in text if ord(char) < 32 or char == "\u202e"} - {"\n"}
            assert "not foreseen" not in text
        return captured.out

    return read


def write_table(name: str) -> None:
    """Two families of six runs, all named alike."""
    header = ["family", "model", "task", "params", "tokens", "acc", "nll_per_char", "loss", "n_items", "chance", f"{name} more"]
    rows = [header]
    for second in (False, True):
        for i, params in enumerate((1e7, 3e7, 1e8, 3e8, 1e9, 3e9)):
            for ratio in (5, 20, 80):
                gain = 0.07 * i + ratio / 1000
                model, shift = f"{name}{i} {ratio} {second}", 0.02 * second
                numbers = (params, ratio * params, 0.3 + gain - shift, 1.5 - gain, 4.0 - 2 * gain + shift, 500, 0.25)
                rows.append([name + "2" * second, model, name + "t", *map(str, numbers), name])
    with Path("named.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(rows)


def test_every_command_that_prints_names(
    forecast: Command, harmless: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = HOSTILE
    monkeypatch.chdir(tmp_path)
    write_table(name)
    store, table, whose = ("--db", "r.duckdb"), ("--table", "named.csv"), f"--family={name}"
    quick = ("--bootstrap", "20")
    shown = printable(name)

    def run(*arguments: str, names: bool = True) -> str:
        assert forecast(*arguments) == 0, arguments
        written = harmless()
        # A title is broken over lines at the table's width.
        assert "".join(shown.split()) in "".join(written.split()) or not names, arguments
        return written

    run("import", "named.csv", *store, names=False)
    run("predict", *store, whose, "--flops", "1e22", "--save", "--emergence", "--plot", "p.png")
    [found] = [json.loads(run("predict", *store, whose, "--flops", "1e22", "--json", names=False))]
    assert (found["family"], found["task"]) == (name, name + "t")
    run("forecasts", *store)
    [row] = json.loads(run("forecasts", *store, "--json", names=False))
    assert (row["family"], row["task"]) == (name, name + "t")
    run("backtest", *store, whose, "--method", "direct,persistence", "--plot", "b.svg")
    run("fit", "power-law-offset", *table, whose, *quick)
    run("optimal", "-C", "1e22", *table, whose, *quick, "--plot", "o.pdf")
    run("compare", *table, *quick, "--", name, name + "2")
    run("plan", "-C", "1e22", *table, whose, names=False)
    run("report", *store, whose, "--out", "r.html", names=False)
    run("families", *store, names=False)
    run("tasks", *store, names=False)
    run("db", "info", *store, names=False)
    page = Path("r.html").read_text(encoding="utf-8")
    assert "\x1b" not in page
    assert "<b>&amp; " not in page
    for wrong in (("predict", *store, "--flops", "1e22", "--task", name), ("families", name), ("tasks", name), ("fit", name)):
        assert forecast(*wrong) == 2
        assert harmless() == ""


def test_the_tables_of_an_evaluation(harmless: Callable[[], str]) -> None:
    row = {"model": HOSTILE, "revision": HOSTILE, "task": HOSTILE, "n_items": 3, "acc": 0.5, "dtype": HOSTILE}
    eval_command._print_table([row])
    print_text_table([row | {"nll_per_token": 2.0, "bits_per_byte": 1.0}])
    assert harmless().count(printable(HOSTILE)) == 7
