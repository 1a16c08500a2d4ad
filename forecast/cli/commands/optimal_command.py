"""`forecast optimal`: how large a model and how many tokens for a budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forecast.cli.options import DEFAULT_DB, DbOption, JsonOption, QuietOption, SeedOption
from forecast.cli.outputs import check_figure

if TYPE_CHECKING:
    from forecast.api.optimal import OptimalReport


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("optimal")(optimal)


def optimal(
    flops: Annotated[list[float], typer.Option("--flops", "-C", help="Training budget in FLOPs; repeatable.")],
    table: Annotated[
        Path | None, typer.Option("--table", "--csv", help="Read a CSV, CSV.gz or Parquet table instead of --db.")
    ] = None,
    family: Annotated[str | None, typer.Option("--family", "-f", help="Family whose runs to use.")] = None,
    task: Annotated[str | None, typer.Option("--task", "-t", help="Text set or benchmark whose loss to use.")] = None,
    where: Annotated[list[str] | None, typer.Option("--where", help="COLUMN=VALUE that rows must have; repeatable.")] = None,
    metric: Annotated[
        str | None, typer.Option("--metric", "--y", help="Loss column; `loss` where there is one, else the card's.")
    ] = None,
    approach: Annotated[list[str] | None, typer.Option("--approach", help="1, 2, 3, llama3; all unless said.")] = None,
    flops_convention: Annotated[
        str | None, typer.Option("--flops-convention", help="Count C anew: 6nd-total, 6nd-non-embedding or deepseek-md.")
    ] = None,
    published: Annotated[bool, typer.Option("--published", help="Printed constants only; reads no runs.")] = False,
    level: Annotated[float, typer.Option("--level", help="Nominal coverage of the intervals.")] = 0.9,
    bootstrap: Annotated[int, typer.Option("--bootstrap", min=0, help="Replicates over runs.")] = 1000,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", callback=check_figure, help="Draw parabolas, envelope and contours: .png, .svg, .pdf."),
    ] = None,
    db: DbOption = DEFAULT_DB,
    json: JsonOption = False,
    quiet: QuietOption = False,
    seed: SeedOption = 0,
) -> None:
    """Compute-optimal parameters and tokens at a budget, by three approaches of Hoffmann and by Llama 3's, side by side."""
    from forecast.api.verbs import optimal as run
    from forecast.cli.assignments import parse_assignments
    from forecast.cli.console import open_progress, print_json
    from forecast.core.errors import UsageError
    from forecast.report.figure_file import save_figure

    if published and plot is not None:
        raise UsageError("there are no runs to draw with --published", remedy="leave out --plot")
    progress = open_progress(quiet=quiet or json)
    with progress.stage("fitting", None):
        report = run(
            None if published else table or db,
            flops,
            family=family,
            task=task,
            where=parse_assignments(where or [], "--where"),
            approaches=approach,
            metric=metric,
            flops_convention=flops_convention,
            level=level,
            replicates=bootstrap,
            seed=seed,
            progress=progress,
        )
    if plot is not None:
        save_figure(report.plot(), plot)
    if json:
        print_json(report)
        return
    _print(report)


def _print(report: OptimalReport) -> None:
    from rich.table import Table

    from forecast.cli.console import stdout_console, styled

    console = stdout_console()
    if report.n_runs:
        shots = "" if report.num_fewshot is None else f" ({report.num_fewshot} shots)"
        console.say(
            f"{report.family} on {report.task}{shots}: {report.metric} of {report.n_runs} runs, "
            f"{report.min_flops:.3g} to {report.max_flops:.3g} FLOPs ({report.flops_convention}); "
            f"N counts {report.params_kind} parameters"
        )
    percent = f"{100 * report.level:g} %"
    table = Table("FLOPs", "approach", f"parameters ({percent})", f"tokens ({percent})", "tokens / parameter", "N ~ C^a")
    for entry in report.allocations:
        beyond = f" (10^{entry.extrapolates:.1f} beyond)" if entry.extrapolates > 0 else ""
        table.add_row(
            f"{entry.flops:.3g}{beyond}",
            entry.approach,
            _span(entry.params, entry.params_lo, entry.params_hi),
            _span(entry.tokens, entry.tokens_lo, entry.tokens_hi),
            _span(entry.tokens_per_param, entry.tokens_per_param_lo, entry.tokens_per_param_hi),
            _span(entry.a, entry.a_lo, entry.a_hi),
        )
    console.print(table)
    seen = dict.fromkeys((entry.approach, note) for entry in report.allocations for note in entry.notes)
    for approach, note in seen:
        console.say(styled(f"{approach}: {note}", "dim"))
    for failure in report.failures:
        console.note(failure, label="not used:")


def _span(value: float, lo: float | None, hi: float | None) -> str:
    return f"{value:.3g}" if lo is None or hi is None else f"{value:.3g} ({lo:.3g} to {hi:.3g})"
