"""A record of options is a command: each field is a parameter, in order, with its help, default and type."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from typer.testing import CliRunner

from forecast.cli.option_groups import as_command


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Of a thing."""

    name: Annotated[str, typer.Argument(help="What it is called.")]
    width: Annotated[int, typer.Option("--width", "-w", min=1, help="In cells.")] = 3
    out: Annotated[Path | None, typer.Option("--out")] = None
    words: Annotated[list[str] | None, typer.Option("--word")] = None
    loud: Annotated[bool, typer.Option("--loud")] = False


def run(*args: str) -> tuple[int, list[Sizes], str]:
    seen: list[Sizes] = []

    def show(sizes: Sizes) -> None:
        """Show how large a thing is."""
        seen.append(sizes)

    app = typer.Typer()
    app.command("show")(as_command(show, Sizes))
    result = CliRunner().invoke(app, list(args))
    return result.exit_code, seen, result.output


def test_values_arrive_with_their_types_and_defaults() -> None:
    code, seen, _ = run("a", "-w", "7", "--word", "x", "--word", "y", "--loud", "--out", "b.csv")
    assert code == 0
    assert seen == [Sizes(name="a", width=7, out=Path("b.csv"), words=["x", "y"], loud=True)]
    assert run("a")[1] == [Sizes(name="a")]


def test_what_is_missing_or_out_of_range_is_refused() -> None:
    for args in ((), ("a", "--width", "0"), ("a", "--unknown")):
        code, seen, _ = run(*args)
        assert (code, seen) == (2, [])


def test_the_help_is_the_functions_docstring_and_the_fields_texts() -> None:
    text = run("--help")[2]
    for part in ("Show how large a thing is.", "What it is called.", "In cells.", "--loud"):
        assert part in text
