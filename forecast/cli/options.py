"""Options that several commands share, with one meaning and one help text."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from forecast.core.errors import UsageError

DEFAULT_DB = Path("forecast.duckdb")


def _silence_log(quiet: bool) -> bool:
    """Show or hide what lower layers log, which have no progress to report to: waiting for a locked file."""
    logging.getLogger("forecast").setLevel(logging.ERROR if quiet else logging.WARNING)
    return quiet


DbOption = Annotated[Path, typer.Option("--db", envvar="FORECAST_DB", help="Results file.", show_default="forecast.duckdb")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print pure JSON on stdout.")]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", callback=_silence_log, help="No progress and no notices on stderr.")
]
ChanceOption = Annotated[
    float | None,
    typer.Option("--chance", help="Accuracy of guessing on the tasks of --task, when neither data nor card say it."),
]
ShotsOption = Annotated[
    int | None,
    typer.Option(
        "--num-fewshot", min=0, help="Shots, where several were measured; the card's, or those of most runs, if not said."
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of everything random.")]


def split_names(text: str | None, option: str) -> list[str] | None:
    """Return the names of a comma-separated option; None where it was not given, which means all.

    Raises:
        UsageError: it was given, but names nothing: that must not mean all.

    >>> split_names("piqa, sciq", "--task"), split_names(None, "--task")
    (['piqa', 'sciq'], None)
    """
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError(f"{option} is {text!r}", expected="at least one name", remedy=f"leave {option} out for all")
    return names
