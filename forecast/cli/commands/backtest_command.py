"""`forecast backtest`: how wrong would each method have been."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forecast.cli.family_backtest import backtest_across
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
from forecast.cli.outputs import check_figure

if TYPE_CHECKING:
    from rich.table import Table

    from forecast.api.backtest import BacktestReport


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("backtest")(backtest)


def backtest(
    task: Annotated[str | None, typer.Option("--task", "-t", help="Benchmarks, comma-separated; all when left out.")] = None,
    family: Annotated[str | None, typer.Option("--family", "-f", help="Family to back-test on.")] = None,
    method: Annotated[str | None, typer.Option("--method", help="Methods, comma-separated; all when left out.")] = None,
    metric: Annotated[str | None, typer.Option("--metric", help="acc, acc_norm or acc_bytes; the card's if not said.")] = None,
    num_fewshot: ShotsOption = None,
    chance: ChanceOption = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", callback=check_figure, help="Draw errors and coverage: .png, .svg or .pdf."),
    ] = None,
    table: Annotated[Path | None, typer.Option("--table", help="Read a CSV or Parquet table instead of --db.")] = None,
    across: Annotated[
        str | None,
        typer.Option("--across", help="'families': leave one family out, forecast it with the others as references."),
    ] = None,
    db: DbOption = DEFAULT_DB,
    json: JsonOption = False,
    quiet: QuietOption = False,
    seed: SeedOption = 0,
) -> None:
    """Repeat the forecast at earlier compute budgets, and compare with what the larger runs really scored."""
    from forecast.api.verbs import backtest as run
    from forecast.cli.console import open_progress, print_json, stderr_console, stdout_console
    from forecast.report.figure_file import save_figure

    if across is not None:
        others = {"--method": method, "--metric": metric, "--num-fewshot": num_fewshot, "--chance": chance, "--plot": plot}
        backtest_across(across, others, task=task, family=family, source=table or db, json=json, quiet=quiet, seed=seed)
        return
    report = run(
        table or db,
        tasks=split_names(task, "--task"),
        family=family,
        methods=split_names(method, "--method"),
        metric=metric,
        num_fewshot=num_fewshot,
        chance=chance,
        seed=seed,
        progress=open_progress(quiet=quiet or json),
    )
    if plot is not None:
        save_figure(report.plot(), plot)
        if not (quiet or json):
            stderr_console().say(f"drawn: {plot}")
    if json:
        print_json(_plain(report))
    else:
        console = stdout_console()
        console.print(_table(report))
        for line in (*_measures(report), *report.warnings):
            console.say(line)


def _measures(report: BacktestReport) -> list[str]:
    """What was forecast on each task."""
    from forecast.core.forecasts import measures_text

    first = {record.task: record for record in reversed(report.records)}
    return [
        f"{task}: {record.metric}, {measures_text(record.num_fewshot, record.chance)}" for task, record in sorted(first.items())
    ]


def _plain(report: BacktestReport) -> dict[str, object]:
    return {
        "levels": list(report.levels),
        "methods": list(report.scores),
        "verdict_auroc": report.verdict_auroc,
        "skipped": list(report.skipped),
        "warnings": list(report.warnings),
        "records": list(report.records),
    }


def _table(report: BacktestReport) -> Table:
    from rich.table import Table

    tasks = {record.task for record in report.records}
    table = Table(title=f"{report.records[0].family}: rolling-origin back-test on {len(tasks)} tasks, accuracy points")
    table.add_column("method")
    names = ("forecasts", "MAE", "MAE, common", "bias", "CRPS", *(f"in {level:.0%}" for level in report.levels), "width 90%")
    for name in names:
        table.add_column(name, justify="right")
    for score in report.scores:
        table.add_row(
            score.method,
            str(score.forecasts),
            *(f"{100 * value:.2f}" for value in (score.mae, score.mae_common)),
            f"{100 * score.bias:+.2f}",
            f"{100 * score.crps:.2f}",
            *(f"{share:.0%}" for share in score.coverage),
            f"{100 * score.width[list(report.levels).index(0.9)]:.1f}",
        )
    return table
