"""`forecast backtest --across families`: the table that trust in references rests on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from forecast.cli.options import DEFAULT_DB, split_names
from forecast.core.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from forecast.api.family_backtest import FamilyBacktest


def backtest_across(
    across: str,
    others: Mapping[str, object],
    *,
    task: str | None,
    family: str | None,
    source: Path,
    json: bool,
    quiet: bool,
    seed: int,
) -> None:
    """Leave one family out in turn, and print the summary.

    Args:
        across: what the user says; `families` is known.
        others: options that have no meaning here, with their values.
        task: benchmarks.
        family: families that are left out.
        source: results file or table; the default file, where there is none, means the library.
        json: whether JSON is wanted.
        quiet: whether bars are not.
        seed: of everything random.

    Raises:
        UsageError: another `--across`, or an option that has no meaning here.
    """
    from forecast.api.family_backtest import backtest_families
    from forecast.cli.console import open_progress, print_json, stdout_console

    if across != "families":
        raise UsageError(f"--across {across}", expected="families")
    for name, value in others.items():
        if value is not None:
            raise UsageError(f"{name} with --across families", remedy="leave it out")
    report = backtest_families(
        None if source == DEFAULT_DB and not source.exists() else source,
        split_names(task, "--task"),
        families=split_names(family, "--family"),
        seed=seed,
        progress=open_progress(quiet=quiet or json),
    )
    if json:
        print_json(
            {
                "levels": list(report.levels),
                "scores": list(report.scores),
                "records": list(report.records),
                "skipped": list(report.skipped),
            }
        )
        return
    console = stdout_console()
    console.print(_table(report))
    for line in report.skipped:
        console.say(f"left out: {line}")


def _table(report: FamilyBacktest) -> Table:
    from rich.table import Table

    families = {record.family for record in report.records}
    table = Table(title=f"One of {len(families)} families left out in turn, accuracy points")
    table.add_column("task")
    for name in ("own runs", "forecasts", "persistence", "MAE", "own alone", "beside it", "CRPS", "own alone", "beside it"):
        table.add_column(name, justify="right")
    for name in (*(f"in {level:.0%}" for level in report.levels), f"width {report.levels[-1]:.0%}"):
        table.add_column(name, justify="right")

    def points(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.2f}"

    for score in report.scores:
        table.add_row(
            score.task,
            score.runs_fitted,
            str(score.forecasts),
            *(points(x) for x in (score.persistence_mae, score.mae, score.own_mae, score.mae_beside_own)),
            *(points(x) for x in (score.crps, score.own_crps, score.crps_beside_own)),
            *(f"{share:.0%}" for share in score.coverage),
            f"{100 * score.width[-1]:.1f}",
        )
    return table
