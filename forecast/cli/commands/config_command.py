"""`forecast config`: the defaults that a settings file gives."""

from __future__ import annotations

from pathlib import Path

import typer

from forecast.cli.options import JsonOption


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("config")(config)


def config(ctx: typer.Context, json: JsonOption = False) -> None:
    """Show the settings file (forecast.toml, or [tool.forecast] in pyproject.toml) and every option's default that it sets."""
    import os

    from rich.table import Table

    from forecast.cli.console import print_json, stdout_console
    from forecast.cli.defaults import settle_defaults
    from forecast.core.settings_file import VARIABLE, find_settings

    settings = find_settings(Path.cwd())
    defaults = settle_defaults(ctx.find_root().command, settings)
    overruled = {"--db": os.environ["FORECAST_DB"]} if os.environ.get("FORECAST_DB") else {}
    if json:
        print_json(
            {
                "file": None if settings.path is None else str(settings.path),
                "defaults": [
                    {"command": one.command, "option": one.option, "value": overruled.get(one.option, one.value)}
                    for one in defaults
                ],
                "environment": {name: os.environ[name] for name in ("FORECAST_DB", VARIABLE) if os.environ.get(name)},
            }
        )
        return
    console = stdout_console()
    if settings.path is None:
        console.say("no settings file: no forecast.toml, and no pyproject.toml with [tool.forecast], here or in a folder above")
        console.say(f'write one, e.g. db = "results.duckdb", or name one in {VARIABLE}')
    else:
        console.say(f"settings: {settings.path}")
        table = Table("command", "option", "default")
        for one in defaults:
            table.add_row(one.command.replace(".", " "), one.option, str(one.value))
        console.print(table)
    for option, value in overruled.items():
        console.note(f"{option} is {value} by FORECAST_DB, before any file")
