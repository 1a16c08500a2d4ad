"""Back-tests over stored families: which method would have been right, and whether its intervals were honest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from forecast.core.errors import NotForecastableError
from forecast.core.progress import Progress, SilentProgress
from forecast.forecasting.backtesting import (
    LEVELS,
    BacktestRecord,
    MethodScore,
    backtest_ladders,
    error_by_extrapolation,
    score_methods,
    verdict_auroc,
)
from forecast.forecasting.preparation import choose_metric, prepare
from forecast.observations.ladders import Wanted, load_ladders

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EDGES = np.array([1.0, 1.5, 2.5, 4.0, 7.0, 12.0, 25.0, 60.0, 200.0, 1e4])


@dataclass(frozen=True, kw_only=True)
class BacktestReport:
    """Records with their summary."""

    records: Sequence[BacktestRecord]
    scores: Sequence[MethodScore]
    skipped: Sequence[str]
    """Tasks that could not be back-tested, and why."""
    verdict_auroc: float
    """How well `auto`'s risk ranks its errors above five points; NaN when none or all are."""
    warnings: Sequence[str] = ()
    """What was chosen or left out on the way, by task."""
    levels: Sequence[float] = LEVELS
    """Nominal levels of each score's `coverage` and `width`."""

    def __repr__(self) -> str:
        """How many forecasts of which family, and the first method's error, in one line."""
        tasks = len({record.task for record in self.records})
        best = self.scores[0]
        error = f"{best.method} is off by {100 * best.mae:.2f} points on average"
        return f"<BacktestReport {self.records[0].family}: {len(self.records)} forecasts on {tasks} tasks, {error}>"

    def plot(self) -> Figure:
        """Return errors by extrapolation and coverage by level as a matplotlib Figure."""
        from forecast.report.backtest_figure import backtest_figure

        names = {record.task for record in self.records}
        return backtest_figure(
            EDGES,
            error_by_extrapolation(self.records, EDGES),
            np.array(self.levels),
            {score.method: np.array(score.coverage) for score in self.scores},
            title=f"Rolling-origin back-test of {self.records[0].family} on {len(names)} task{'' if len(names) == 1 else 's'}",
        )


def run_backtest(
    source: Path,
    *,
    tasks: Sequence[str] | None,
    family: str | None = None,
    methods: Sequence[str] | None = None,
    metric: str | None = None,
    num_fewshot: int | None = None,
    chance: float | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> BacktestReport:
    """Back-test every method on every task of a family.

    Raises:
        UsageError: unknown names.
        NotForecastableError: no task has enough runs.
    """
    progress = progress or SilentProgress()
    wanted = Wanted(tasks=tasks, family=family, num_fewshot=num_fewshot, chance=chance)
    ladders = load_ladders(source, wanted, with_items=True, progress=progress)
    records, failed = backtest_ladders(ladders, methods=methods, seed=seed, metric=metric, progress=progress)
    skipped = [f"{task}: {reason}" for task, reason in failed.items()]
    for task, reason in failed.items():
        progress.notice(f"{task} is left out: {reason}")
    if not records:
        raise NotForecastableError(
            "no task could be back-tested" + (f" ({skipped[0]})" if skipped else ""), expected="at least three runs of a family"
        )
    tested = [ladder for ladder in ladders if ladder.task not in failed]
    prepared = {ladder.task: prepare(ladder, metric=choose_metric(ladder, metric)) for ladder in tested}
    return BacktestReport(
        records=records,
        scores=score_methods(records),
        skipped=skipped,
        warnings=[f"{task}: {text}" for task, entry in prepared.items() for text in entry.warnings],
        verdict_auroc=verdict_auroc(records),
    )


def draw_report(report: BacktestReport, path: Path) -> Path:
    """Draw a report's errors and coverages into a file; its suffix chooses PNG, SVG or PDF."""
    from forecast.report.figure_file import check_suffix, save_figure

    check_suffix(path)
    return save_figure(report.plot(), path)
