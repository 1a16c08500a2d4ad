"""`forecast backtest`: how wrong would each method have been."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forecast.cli.options import DEFAULT_DB, DbOption, JsonOption, QuietOption, SeedOption
from forecast.cli.outputs import check_figure

if TYPE_CHECKING:
    from rich.table import Table

    from forecast.workflows.backtest import BacktestReport


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("backtest")(backtest)


def backtest(
    task: Annotated[str, typer.Option("--task", "-t", help="Benchmarks, comma-separated; all when left out.")] = "",
    family: Annotated[str | None, typer.Option("--family", "-f", help="Family to back-test on.")] = None,
    method: Annotated[str, typer.Option("--method", help="Methods, comma-separated; all when left out.")] = "",
    metric: Annotated[str | None, typer.Option("--metric", help="acc, acc_norm or acc_bytes.")] = None,
    num_fewshot: Annotated[int | None, typer.Option("--num-fewshot", help="Shots, where several were measured.")] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", callback=check_figure, help="Draw errors and coverage: .png, .svg or .pdf."),
    ] = None,
    table: Annotated[Path | None, typer.Option("--table", help="Read a CSV or Parquet table instead of --db.")] = None,
    db: DbOption = DEFAULT_DB,
    json: JsonOption = False,
    quiet: QuietOption = False,
    seed: SeedOption = 0,
) -> None:
    """Repeat the forecast at earlier compute budgets, and compare with what the larger runs really scored."""
    from forecast.cli.console import open_progress, print_json, stderr_console, stdout_console
    from forecast.workflows.backtest import draw_report, run_backtest

    report = run_backtest(
        table or db,
        tasks=[name.strip() for name in task.split(",") if name.strip()] or None,
        family=family,
        methods=[name.strip() for name in method.split(",") if name.strip()] or None,
        metric=metric,
        num_fewshot=num_fewshot,
        seed=seed,
        progress=open_progress(quiet=quiet or json),
    )
    if plot is not None:
        draw_report(report, plot)
        if not (quiet or json):
            stderr_console().say(f"drawn: {plot}")
    if json:
        print_json(_plain(report))
    else:
        stdout_console().print(_table(report))


def _plain(report: BacktestReport) -> dict[str, object]:
    from forecast.forecasting.backtesting import LEVELS

    return {
        "levels": list(LEVELS),
        "methods": list(report.scores),
        "verdict_auroc": report.verdict_auroc,
        "skipped": list(report.skipped),
        "records": list(report.records),
    }


def _table(report: BacktestReport) -> Table:
    from rich.table import Table

    from forecast.forecasting.backtesting import LEVELS

    tasks = {record.task for record in report.records}
    table = Table(title=f"{report.records[0].family}: rolling-origin back-test on {len(tasks)} tasks, accuracy points")
    table.add_column("method")
    names = ("forecasts", "MAE", "MAE, common", "bias", "CRPS", *(f"in {level:.0%}" for level in LEVELS), "width 90%")
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
            f"{100 * score.width[LEVELS.index(0.9)]:.1f}",
        )
    return table
