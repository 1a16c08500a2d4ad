"""Options that several commands share, with one meaning and one help text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_DB = Path("forecast.duckdb")

DbOption = Annotated[Path, typer.Option("--db", envvar="FORECAST_DB", help="Results file.", show_default="forecast.duckdb")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print pure JSON on stdout.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notices on stderr.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of everything random.")]
