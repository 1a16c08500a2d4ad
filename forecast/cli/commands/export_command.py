"""`forecast export`: results for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from forecast.cli.options import DEFAULT_DB, DbOption, JsonOption


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export_command)


def export_command(
    destination: Annotated[Path, typer.Argument(help="Folder to write; for csv a file.")],
    form: Annotated[
        str, typer.Option("--format", help="parquet (the whole store), csv (scores), lm-eval, or eval-results (hub YAML).")
    ] = "parquet",
    db: DbOption = DEFAULT_DB,
    json: JsonOption = False,
) -> None:
    """Export results; `forecast import` takes the Parquet folder in again."""
    from forecast.api.exchange import export
    from forecast.cli.console import print_json, stdout_console

    files = export(db, destination, form=form)
    if json:
        print_json({"format": form, "files": [str(path) for path in files]})
    else:
        stdout_console().say(f"{len(files)} files under {destination}")
