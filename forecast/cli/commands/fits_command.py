"""`forecast fits`: laws whose fits were stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from forecast.cli.options import DEFAULT_DB, DbOption, JsonOption

if TYPE_CHECKING:
    from collections.abc import Mapping


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("fits")(fits)


def fits(db: DbOption = DEFAULT_DB, json: JsonOption = False) -> None:
    """List fits that were stored by `forecast fit LAW --save`: law, data, constants with their standard errors."""
    from rich.table import Table
    from rich.text import Text

    from forecast.api.saved_fits import stored_fits
    from forecast.cli.console import print_json, stdout_console

    rows = stored_fits(db)
    if json:
        print_json(rows)
        return
    table = Table(header_style="bold")
    for name in ("id", "made", "family", "task", "law", "of", "runs", "status", "constants (standard error)"):
        table.add_column(name, justify="right" if name == "runs" else "left")
    for row in rows:
        report = row["report"] if isinstance(row["report"], dict) else {}
        cells = [str(row["fit_id"])[:8], str(row["created_at"])[:16], row["family"] or report.get("source", ""), row["task"]]
        cells += [row["law"], _measured(report), report.get("n_runs", ""), row["status"]]
        constants = [_constant(entry) for entry in report.get("constants", ())]
        # Text, for names hold brackets that would be read as markup.
        table.add_row(*(Text(str(cell)) for cell in cells), Text(", ".join(constants)))
    stdout_console().print(table)


def _measured(report: Mapping[str, object]) -> str:
    shots = report.get("num_fewshot")
    return f"{report.get('y', '')}" + ("" if shots is None else f" ({shots} shots)")


def _constant(entry: Mapping[str, object]) -> str:
    name, value, error = (entry.get(key) for key in ("name", "value", "standard_error"))
    if not isinstance(value, int | float):
        return f"{name} not identified"
    if entry.get("role") == "fixed":
        return f"{name} {value:.4g} (fixed)"
    return f"{name} {value:.4g}" + (f" ({error:.2g})" if isinstance(error, int | float) else "")
