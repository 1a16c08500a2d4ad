"""`forecast import`: other people's results into the store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from forecast.cli.options import DEFAULT_DB, DbOption, JsonOption, QuietOption


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("import")(import_command)


def import_command(
    paths: Annotated[
        list[Path],
        typer.Argument(help="lm-eval results_*.json with samples_*.jsonl, folders of them, a CSV or Parquet table, an export."),
    ],
    family: Annotated[str | None, typer.Option("--family", help="Family of the checkpoint.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Training run that the checkpoint belongs to.")] = None,
    step: Annotated[int | None, typer.Option("--step", help="Optimiser steps.")] = None,
    params: Annotated[float | None, typer.Option("--params", help="Parameters, embeddings included.")] = None,
    tokens: Annotated[float | None, typer.Option("--tokens", help="Training tokens.")] = None,
    flops: Annotated[float | None, typer.Option("--flops", help="Training FLOPs.")] = None,
    db: DbOption = DEFAULT_DB,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Import results: all that is named is checked first, and importing it twice changes nothing."""
    from forecast.api.exchange import import_
    from forecast.cli.console import open_progress, print_json, stdout_console

    progress = open_progress(quiet=quiet)
    report = import_(
        db, *paths, family=family, model=model, step=step, params=params, tokens=tokens, flops=flops, progress=progress
    )
    if json:
        print_json(report)
        report.raise_if_partial()
        return
    if report.exports:
        stdout_console().say(f"{report.exports} exports: {report.items_merged:,} item results added")
    if report.files:
        stdout_console().say(
            f"{report.files} files: {report.runs} runs with {report.items} items, "
            f"{report.observations} observations without items"
        )
    if report.observations:
        stdout_console().say(
            f"observations: {report.added} added, {report.replaced} replaced, {report.unchanged} unchanged, "
            f"{report.removed} removed"
        )
    if report.disagreements:
        stdout_console().say(f"{len(report.disagreements)} aggregates disagree with their samples")
    report.raise_if_partial()
