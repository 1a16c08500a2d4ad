"""Options that several commands share, with one meaning and one help text."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_DB = Path("forecast.duckdb")


def _silence_log(quiet: bool) -> bool:
    """Show or hide what lower layers log, which have no progress to report to: waiting for a locked file."""
    logging.getLogger("forecast").setLevel(logging.ERROR if quiet else logging.WARNING)
    return quiet


DbOption = Annotated[
    Path, typer.Option("--db", envvar="FORECAST_DB", help="Results file (DuckDB).", show_default="forecast.duckdb")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print pure JSON on stdout.")]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", callback=_silence_log, help="No progress and no notices on stderr.")
]
SeedOption = Annotated[
    int, typer.Option("--seed", min=0, help="Seed of all random numbers; the same seed gives the same results.")
]
