"""`forecast report`: everything on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from forecast.cli.options import (
    DEFAULT_DB,
    ChanceOption,
    DbOption,
    JsonOption,
    QuietOption,
    SeedOption,
    ShotsOption,
    split_names,
)
from forecast.cli.outputs import check_output


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("report")(report)


def report(
    out: Annotated[Path, typer.Option("--out", "-o", callback=check_output, help="HTML file to write.")] = Path(
        "forecast-report.html"
    ),
    task: Annotated[str | None, typer.Option("--task", "-t", help="Benchmarks, comma-separated; all when left out.")] = None,
    family: Annotated[str | None, typer.Option("--family", "-f", help="Families, comma-separated; all when left out.")] = None,
    num_fewshot: ShotsOption = None,
    chance: ChanceOption = None,
    flops: Annotated[
        list[float] | None,
        typer.Option("--flops", help="Training FLOPs of a target (repeatable); default: 10 and 100 times the largest run."),
    ] = None,
    level: Annotated[float, typer.Option("--level", help="Nominal coverage of the intervals.")] = 0.9,
    db: DbOption = DEFAULT_DB,
    json: JsonOption = False,
    quiet: QuietOption = False,
    seed: SeedOption = 0,
) -> None:
    """Write one self-contained HTML file: curves, intervals, verdicts, provenance."""
    from forecast.api.report import write_report
    from forecast.cli.console import open_progress, print_json, stdout_console

    sections = write_report(
        db,
        out,
        tasks=split_names(task, "--task"),
        families=split_names(family, "--family"),
        num_fewshot=num_fewshot,
        chance=chance,
        flops=flops or (),
        level=level,
        seed=seed,
        progress=open_progress(quiet=quiet or json),
    )
    if json:
        print_json({"report": str(out), "sections": sections})
    else:
        stdout_console().say(f"{out}: {sections} sections")
