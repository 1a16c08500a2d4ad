"""`forecast forecasts`: what was forecast, and what came of it."""

from __future__ import annotations

import typer

from forecast.cli.options import DEFAULT_DB, DbOption, JsonOption


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("forecasts")(forecasts)


def forecasts(db: DbOption = DEFAULT_DB, json: JsonOption = False) -> None:
    """List stored forecasts, and score those whose target has been measured since."""
    from rich.table import Table

    from forecast.api.predict import stored_forecasts
    from forecast.cli.console import print_json, stdout_console

    rows = stored_forecasts(db)
    if json:
        print_json(rows)
        return
    table = Table(header_style="bold")
    for name in ("id", "made", "family", "task", "target", "method"):
        table.add_column(name)
    for name in ("accuracy %", "interval", "truth %", "error"):
        table.add_column(name, justify="right")
    table.add_column("held")

    def percent(value: object, form: str = ".1f") -> str:
        return f"{100 * value:{form}}" if isinstance(value, float) else ""

    for row in rows:
        table.add_row(
            str(row["forecast_id"])[:8],
            str(row["created_at"])[:16],
            *(str(row[name]) for name in ("family", "task", "target", "method")),
            percent(row["point"]),
            f"{percent(row['lo'])} to {percent(row['hi'])}",
            percent(row["truth"]),
            percent(row["error"], "+.1f"),
            {True: "yes", False: "no"}.get(row["inside"], ""),  # type: ignore[call-overload]  # a bool or None
        )
    stdout_console().print(table)
