"""`forecast doctor`: what is installed, which device and caches are used, and what is wrong."""

from __future__ import annotations

import typer

from forecast.cli.options import DEFAULT_DB, DbOption, JsonOption

_STYLES = {"ok": "green", "warning": "yellow", "failure": "red"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(ctx: typer.Context, db: DbOption = DEFAULT_DB, json: JsonOption = False) -> None:
    """Say what is installed, which device and caches are used, and what is wrong; exit code 1 if anything is."""
    from pathlib import Path

    from rich.table import Table

    from forecast.api.doctor import Check, Status, examine
    from forecast.cli.console import print_json, stdout_console, styled
    from forecast.cli.defaults import settle_defaults
    from forecast.core.errors import ForecastError, StoreError
    from forecast.core.settings_file import find_settings

    checks = examine(db)
    try:
        settle_defaults(ctx.find_root().command, find_settings(Path.cwd()))
    except ForecastError as error:
        checks = [check for check in checks if check.name != "settings"]
        checks.append(Check(name="settings", status=Status.FAILURE, found=str(error), remedy="correct the settings file"))
    wrong = [check for check in checks if check.status is Status.FAILURE]
    if json:
        print_json({"ok": not wrong, "checks": checks})
    else:
        table = Table("", "what", "found", "what to do")
        for check in checks:
            table.add_row(styled(check.status.value, _STYLES[check.status.value]), check.name, check.found, check.remedy)
        stdout_console().print(table)
    if wrong:
        raise StoreError(f"{len(wrong)} of {len(checks)} checks failed: {', '.join(check.name for check in wrong)}")
