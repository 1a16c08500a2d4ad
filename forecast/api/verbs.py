"""One function a verb, over a results file or a table: what the command line calls, and what `forecast.open` binds to a path.

The first argument is the source: a results file (DuckDB) or a table of observations (CSV, CSV.gz, Parquet). `progress` is
where bars and notices go; without it notices become Python warnings. What computes is imported when it is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from forecast.core.errors import UsageError
from forecast.core.names import read_names

if TYPE_CHECKING:
    from forecast.api.backtest import BacktestReport
    from forecast.api.fit import FitReport
    from forecast.api.optimal import OptimalReport
    from forecast.api.plan import Plan
    from forecast.api.predict import Prediction
    from forecast.core.progress import Progress
    from forecast.forecasting.emergence import Emergence
    from forecast.observations.measurements import Selection

Source = str | Path


def shown(progress: Progress | None) -> Progress:
    """Return where bars and notices go: notices become Python warnings where nobody says."""
    from forecast.api.notices import WarningProgress

    return WarningProgress() if progress is None else progress


def selection_of(
    family: str | None = None,
    task: str | None = None,
    where: Mapping[str, str] | None = None,
    all_checkpoints: bool = False,
    num_fewshot: int | None = None,
) -> Selection:
    """Return which rows are meant: of a family and task, with `where`'s values; the ends of runs unless told otherwise."""
    from forecast.observations.measurements import Selection

    return Selection(
        family=family, task=task, where=dict(where or {}), finals_only=not all_checkpoints, num_fewshot=num_fewshot
    )


def emergence(
    source: Source,
    task: str,
    *,
    family: str | None = None,
    margin: float = 0.05,
    level: float = 0.9,
    metric: str | None = None,
    num_fewshot: int | None = None,
    chance: float | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Emergence:
    """Return the training FLOPs at which accuracy leaves chance.

    Args:
        source: results file or table.
        task: one benchmark.
        family: may be None when the source holds one family only.
        margin: how far above chance counts, as a fraction of accuracy.
        level: nominal coverage of the interval.
        metric: accuracy metric; None takes that of the task's card, else the first measured.
        num_fewshot: shots, where the task was measured with several.
        chance: accuracy of guessing; None takes the data's, else the card's.
        seed: of everything random.
        progress: where notices go.

    Raises:
        UsageError: an unknown name, or a margin or level out of range.
        NotForecastableError: chance is unknown, or there are too few runs.
    """
    from forecast.forecasting.emergence import find_emergence
    from forecast.laws.bootstrap import check_level
    from forecast.observations.ladders import Wanted, load_ladders

    check_level(level)
    if not 0 < margin < 1:
        raise UsageError(f"`margin=` is {margin}", expected="a fraction of accuracy between 0 and 1, such as 0.05")
    wanted = Wanted(tasks=[task], family=family, num_fewshot=num_fewshot, chance=chance)
    [ladder] = load_ladders(Path(source), wanted, progress=shown(progress))
    return find_emergence(ladder, margin=margin, level=level, seed=seed, metric=metric)


def emergence_of(prediction: Prediction, *, seed: int = 0) -> Emergence | str:
    """Return where accuracy leaves chance on the runs behind a forecast, or a sentence on why that cannot be said."""
    from forecast.core.errors import NotForecastableError
    from forecast.forecasting.emergence import find_emergence

    made = prediction.forecast
    try:
        return find_emergence(prediction.fitted, level=made.level, seed=seed, metric=made.accuracy.metric)
    except NotForecastableError as error:
        return f"Where accuracy leaves chance cannot be said: {error}."


def backtest(
    source: Source,
    tasks: str | Sequence[str] | None = None,
    *,
    family: str | None = None,
    methods: str | Sequence[str] | None = None,
    metric: str | None = None,
    num_fewshot: int | None = None,
    chance: float | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> BacktestReport:
    """Repeat the forecast at earlier compute budgets, and compare it with what the larger runs really scored.

    Args:
        source: results file or table.
        tasks: benchmarks, as a list or separated by commas; None takes all.
        family: may be None when the source holds one family only.
        methods: methods by name; None takes all.
        metric: accuracy metric; None takes that of each task's card, else the first measured.
        num_fewshot: shots, where a task was measured with several.
        chance: accuracy of guessing on the named tasks; None takes the data's, else the card's.
        seed: of everything random.
        progress: where bars and notices go.

    Returns:
        Errors as fractions of accuracy; `plot()` draws them.

    Raises:
        UsageError: an unknown name.
        NotForecastableError: no task has enough runs.
    """
    from forecast.api.backtest import run_backtest

    return run_backtest(
        Path(source),
        tasks=read_names("tasks", tasks),
        family=family,
        methods=read_names("methods", methods),
        metric=metric,
        num_fewshot=num_fewshot,
        chance=chance,
        seed=seed,
        progress=shown(progress),
    )


def fit_law(
    source: Source,
    law: str,
    *,
    family: str | None = None,
    task: str | None = None,
    where: Mapping[str, str] | None = None,
    all_checkpoints: bool = False,
    num_fewshot: int | None = None,
    columns: Mapping[str, str] | None = None,
    y: str | None = None,
    loss: str = "",
    space: str | None = None,
    fixed: Mapping[str, float] | None = None,
    soft: Mapping[str, tuple[float, float]] | None = None,
    use_sem: bool = False,
    level: float = 0.95,
    replicates: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> FitReport:
    """Fit a scaling law to stored rows: constants with standard errors, and whether they are identified.

    Args:
        source: results file or table.
        law: name, as `list_laws` gives it.
        family: may be None when the source holds one family only.
        task: benchmark or text set; likewise.
        where: column -> value that rows of a table must have.
        all_checkpoints: also rows in the middle of a run.
        num_fewshot: shots, where several were measured.
        columns: the law's input -> column, where names differ.
        y: column to predict; None takes the law's first that is there.
        loss: `least-squares`, `huber[:DELTA]`, `soft-l1[:DELTA]`, `binomial` or `beta-binomial`; empty takes the law's own.
        space: `log` or `linear` residuals; None takes the law's own.
        fixed: parameter -> value to hold.
        soft: parameter -> (mean, standard deviation) to pull it towards.
        use_sem: weigh rows by their standard errors.
        level: nominal coverage of the intervals.
        replicates: of the bootstrap over runs; 0 for profiles and the sandwich.
        seed: of everything random.
        progress: where notices go.

    Raises:
        UsageError: an unknown name or option.
        FitError: the rows cannot be fitted.
    """
    from forecast.api.fit import FitRequest, fit_rows, soft_values

    request = FitRequest(law=law, y=y, loss=loss, space=space, use_sem=use_sem, level=level, replicates=replicates, seed=seed)
    request = replace(request, columns=dict(columns or {}), fixed=dict(fixed or {}), soft=soft_values(soft or {}))
    selection = selection_of(family, task, where, all_checkpoints, num_fewshot)
    return fit_rows(Path(source), selection, request, notice=shown(progress).notice).report


def optimal(
    source: Source | None,
    budgets: float | Sequence[float],
    *,
    family: str | None = None,
    task: str | None = None,
    where: Mapping[str, str] | None = None,
    approaches: str | Sequence[str] | None = None,
    metric: str | None = None,
    flops_convention: str | None = None,
    level: float = 0.9,
    replicates: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> OptimalReport:
    """Return compute-optimal parameters and training tokens, by every approach that the runs allow.

    Args:
        source: results file or table of runs; None takes printed constants.
        budgets: one or several, in training FLOPs.
        family: may be None when the source holds one family only.
        task: text set or benchmark whose loss to use; likewise.
        where: column -> value that rows of a table must have.
        approaches: of `1`, `2`, `3` and `llama3`; None takes all.
        metric: loss column; None takes `loss` where there is one.
        flops_convention: count FLOPs anew: `6nd-total`, `6nd-non-embedding` or `deepseek-md`.
        level: nominal coverage of the intervals.
        replicates: of the bootstrap over runs.
        seed: of everything random.
        progress: where notices go.

    Returns:
        Allocations; `plot()` draws parabolas, envelope and contours.

    Raises:
        UsageError: a budget, level or approach out of range.
        FitError: no approach can be used.
    """
    from forecast.api.optimal import APPROACHES, find_optimum

    report, _ = find_optimum(
        None if source is None else Path(source),
        selection_of(family, task, where),
        [float(budgets)] if isinstance(budgets, int | float) else [float(budget) for budget in budgets],
        approaches=read_names("approaches", approaches) or APPROACHES,
        metric=metric,
        convention=flops_convention,
        level=level,
        replicates=replicates,
        seed=seed,
        notice=shown(progress).notice,
    )
    return report


def plan(
    source: Source | None,
    target_flops: float,
    *,
    family: str | None = None,
    task: str | None = None,
    where: Mapping[str, str] | None = None,
    metric: str | None = None,
    fraction: float = 0.01,
    rungs: int = 6,
    tokens_per_param: float | None = None,
    n_ctx: int = 2048,
    flops_per_second: float | None = None,
    next_budget: float | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Plan:
    """Plan a ladder of small runs for a target; given runs, also the next one that sharpens its forecast most.

    Args:
        source: runs already made; None plans by printed constants.
        target_flops: training FLOPs of the model to forecast.
        family: may be None when the source holds one family only.
        task: text set or benchmark whose loss to use; likewise.
        where: column -> value that rows of a table must have.
        metric: loss column.
        fraction: share of the target's FLOPs that the ladder may cost.
        rungs: runs, half a decade of compute apart.
        tokens_per_param: fixed ratio instead of a compute-optimal one.
        n_ctx: training context, tokens.
        flops_per_second: of the hardware, sustained: adds hours.
        next_budget: most FLOPs of the next run.
        seed: of everything random.
        progress: where notices go.

    Raises:
        UsageError: a number out of range.
    """
    from forecast.api.plan import PlanRequest, make_plan

    request = PlanRequest(
        target_flops=target_flops,
        fraction=fraction,
        rungs=rungs,
        tokens_per_param=tokens_per_param,
        n_ctx=n_ctx,
        flops_per_second=flops_per_second,
        next_budget=next_budget,
        seed=seed,
    )
    path = None if source is None else Path(source)
    return make_plan(path, selection_of(family, task, where), request, metric=metric, notice=shown(progress).notice)
