"""`forecast references`: which published results of other families there are for a task."""

from __future__ import annotations

from typing import Annotated

import typer

from forecast.cli.options import JsonOption, split_names


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="references")(references_command)


def references_command(
    task: Annotated[str | None, typer.Option("--task", "-t", help="Benchmarks, comma-separated; all when left out.")] = None,
    json: JsonOption = False,
) -> None:
    """List published results of other families that `predict --reference` can use, with their sources and licences."""
    from rich.table import Table

    from forecast.api.references import references
    from forecast.cli.console import print_json, stdout_console

    found = references(split_names(task, "--task"))
    if json:
        print_json(found)
        return
    table = Table("task", "family", "source", "runs", "FLOPs", "metric", "shots", "licence")
    for entry in found:
        table.add_row(
            entry.task,
            entry.family,
            entry.source,
            str(entry.runs),
            f"{entry.min_flops:.2g} to {entry.max_flops:.2g}",
            entry.metric,
            "?" if entry.num_fewshot is None else str(entry.num_fewshot),
            entry.licence,
        )
    stdout_console().print(table)
