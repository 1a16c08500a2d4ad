"""Everything a results file can say, as one HTML page: forecasts beyond the largest run, a check on it, provenance."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from forecast.core.errors import ForecastError, InputError, NotForecastableError, UsageError
from forecast.core.forecasts import Target
from forecast.core.observations import ACCURACY_METRICS, Ladder
from forecast.core.progress import Progress, SilentProgress
from forecast.forecasting.preparation import choose_metric
from forecast.report.forecast_figure import draw_forecast
from forecast.report.page import ReportContent, Section, render_page
from forecast.store import Store
from forecast.workflows.predict import Prediction, hold_out, predict_ladder
from forecast.workflows.task_groups import members_of, stored_members, union_of

DEFAULT_FACTORS = (10.0, 100.0)
"""Targets when none is named: so many times the largest run's compute."""

_PROVENANCE = """
    SELECT family, task, num_fewshot AS shots, source, definition, count(DISTINCT model) AS models, count(*) AS checkpoints
    FROM observations GROUP BY ALL ORDER BY ALL
"""


def write_report(
    db: Path,
    out: Path,
    *,
    tasks: Sequence[str] | None = None,
    families: Sequence[str] | None = None,
    num_fewshot: int | None = None,
    flops: Sequence[float] = (),
    level: float = 0.9,
    seed: int = 0,
    progress: Progress | None = None,
) -> int:
    """Write the page and return how many sections (family x task) it has; `out` appears whole or not at all.

    Args:
        db: results file.
        out: HTML file to write.
        tasks: benchmarks; None takes all that have accuracies.
        families: families; None takes all.
        num_fewshot: shots, where a task was measured with several.
        flops: training FLOPs of the targets; none means 10 and 100 times each ladder's largest run.
        level: nominal coverage of the intervals.
        seed: of everything random.
        progress: where bars and notices go.

    Raises:
        InputError: there is no such results file.
        UsageError: an unknown task or family, a group whose tasks were not asked alike, or a target that is no positive number.
        NotForecastableError: nothing is stored that has an accuracy.
    """
    progress = progress or SilentProgress()
    if not db.is_file():
        raise InputError(
            f"there is no {db}", expected="a results file", remedy="run `forecast eval` first, or name it with --db"
        )
    for amount in flops:
        if not (math.isfinite(amount) and amount > 0):
            raise UsageError(f"--flops is {amount!r}", expected="a positive number of training FLOPs")
    store = Store(db)
    names = None if tasks is None else stored_members(store, tasks, families)
    found = store.ladders(tasks=names, families=families, num_fewshot=num_fewshot, with_items=True, notice=progress.notice)
    ladders = [ladder for ladder in found if any(name in ladder.metrics for name in ACCURACY_METRICS)]
    if tasks is not None:
        ladders = _named(ladders, tasks, progress)
    if not ladders:
        raise NotForecastableError(f"{db} holds no accuracies", remedy="run `forecast eval` or `forecast import` first")
    sections = []
    with progress.stage("report", len(ladders), "sections") as stage:
        for ladder in ladders:
            stage.describe(f"{ladder.family}, {ladder.task}")
            sections.append(_section(ladder, flops, level=level, seed=seed))
            stage.advance()
    content = ReportContent(
        title="Capability forecasts",
        created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        version=version("capability-forecast"),
        database=db.name,
        sections=tuple(sections),
        provenance=tuple(row for batch in store.query(_PROVENANCE) for row in batch.to_pylist()),
    )
    partial = out.with_name(out.name + ".partial")
    try:
        partial.write_text(render_page(content), encoding="utf-8")
        partial.replace(out)
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror}", remedy="name another file with --out") from error
    return len(sections)


def _named(ladders: Sequence[Ladder], tasks: Sequence[str], progress: Progress) -> list[Ladder]:
    """Each family's ladders of the tasks named, a group's joined; one that cannot be joined is left out, if any can."""
    named: list[Ladder] = []
    failed: list[tuple[str, ForecastError]] = []
    for family in dict.fromkeys(ladder.family for ladder in ladders):
        own = {ladder.task: ladder for ladder in ladders if ladder.family == family}
        for task in dict.fromkeys(tasks):
            members = [own[name] for name in members_of(task, own) if name in own]
            try:
                named += [union_of(task, members, progress.notice)] if members else []
            except ForecastError as error:
                failed.append((f"{family}, {task}", error))
    for name, reason in failed:
        if not named:
            raise reason
        progress.notice(f"{name} is left out: {reason}")
    return named


def _section(ladder: Ladder, flops: Sequence[float], *, level: float, seed: int) -> Section:
    metric = choose_metric(ladder, None)
    known = np.isfinite(ladder.flops) & (ladder.flops > 0) & np.isfinite(ladder.metrics[metric])
    largest = int(np.argmax(np.where(known, ladder.flops, -np.inf))) if known.any() else None
    top = float(ladder.flops[largest]) if largest is not None else math.nan
    forecasts: list[Prediction] = []
    check: Prediction | None = None
    problem = ""
    try:
        if largest is None:
            raise NotForecastableError("no checkpoint has both known training FLOPs and an accuracy")
        targets = [
            Target(name=f"{amount / top:.3g} x the largest run", flops=amount)
            for amount in (flops or [factor * top for factor in DEFAULT_FACTORS])
        ]
        forecasts = predict_ladder(ladder, targets, level=level, seed=seed)
        check = _check(ladder, ladder.model[largest], level=level, seed=seed)
    except ForecastError as error:
        problem = f"No forecast: {error}."
    drawn = forecasts[-1] if forecasts else None
    return Section(
        family=ladder.family,
        task=ladder.task,
        n_checkpoints=len(ladder),
        n_runs=len(set(ladder.model)),
        min_flops=float(ladder.flops[known].min()) if known.any() else math.nan,
        max_flops=top,
        chance=ladder.chance,
        largest_model=ladder.model[largest] if largest is not None else "",
        largest_accuracy=float(ladder.metrics[metric][largest]) if largest is not None else None,
        accuracy_metric=metric,
        forecasts=tuple(entry.forecast for entry in forecasts),
        check=check.forecast if check else None,
        figure_svg=_figure(drawn) if drawn else "",
        problem=problem,
    )


def _check(ladder: Ladder, model: str, *, level: float, seed: int) -> Prediction | None:
    """Forecast the largest run from the others; a ladder too short for that has no check."""
    rest, _held, _target = hold_out(ladder, model)
    if len(set(rest.model)) < 3:
        return None
    return predict_ladder(ladder, [], holdout=model, level=level, seed=seed)[0]


def _figure(prediction: Prediction) -> str:
    with TemporaryDirectory() as folder:
        path = draw_forecast(prediction.fitted, prediction.forecast, Path(folder) / "figure.svg")
        text = path.read_text(encoding="utf-8")
    return text[text.index("<svg") :]
