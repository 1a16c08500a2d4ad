"""`forecast demo`: the whole way in a few minutes, on a world that is made up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forecast.cli.console import open_progress, print_json, stdout_console
from forecast.cli.options import JsonOption, QuietOption, SeedOption
from forecast.cli.outputs import check_folder

if TYPE_CHECKING:
    from forecast.api.demo import DemoResult


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="demo")(demo_command)


def demo_command(
    folder: Annotated[
        Path, typer.Option("--folder", callback=check_folder, help="Folder for the world, checkpoints, results and plot.")
    ] = Path("forecast-demo"),
    seed: SeedOption = 0,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train a tiny family, score it, hide its largest member, forecast it from the others, and compare."""
    from forecast.api.demo import run_demo

    result = run_demo(folder, seed=seed, progress=open_progress(quiet=quiet))
    if json_output:
        print_json(_as_json(result))
    else:
        _print_result(result)


def _as_json(result: DemoResult) -> dict[str, object]:
    forecast = result.forecast
    return {
        "seed": result.seed,
        "members": result.members,
        "target": forecast.target,
        "level": forecast.level,
        "accuracy": forecast.accuracy,
        "nll": forecast.nll,
        "truth": forecast.truth,
        "truth_inside": result.truth_inside,
        "method": forecast.method,
        "verdict": forecast.verdict.value,
        "reasons": forecast.reasons,
        "warnings": forecast.warnings,
        "db": result.db,
        "plot": result.plot,
        "seconds": result.seconds,
    }


def _print_result(result: DemoResult) -> None:
    from rich.table import Table

    console = stdout_console()
    measured = Table("model", "parameters", "tokens", "FLOPs", "NLL per char", "accuracy", title="Measured")
    for member in result.members:
        measured.add_row(
            member.model,
            f"{member.params:,}",
            f"{member.tokens:,}",
            f"{member.flops:.2e}",
            f"{member.nll_per_char:.3f}",
            "hidden" if member.hidden else f"{member.acc:.1%}",
        )
    console.print(measured)
    forecast = result.forecast
    accuracy = forecast.accuracy
    compared = Table(
        "model",
        "forecast",
        f"{forecast.level:.0%} interval",
        "measured",
        "inside",
        "method",
        "verdict",
        title=f"{forecast.target.name}, forecast from the {len(result.members) - 1} smaller ones",
    )
    compared.add_row(
        forecast.target.name,
        f"{accuracy.point:.1%}",
        f"{accuracy.lo:.1%} to {accuracy.hi:.1%}",
        "unknown" if forecast.truth is None else f"{forecast.truth:.1%}",
        "yes" if result.truth_inside else "no",
        forecast.method,
        forecast.verdict.value,
    )
    console.print(compared)
    for sentence in (*forecast.reasons, *forecast.warnings):
        console.say(f"  {sentence}")
    console.say(f"plot: {result.plot}")
    console.say(f"results: {result.db}   (forecast sql --db {result.db})")
