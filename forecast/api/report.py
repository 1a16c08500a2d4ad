"""Everything a results file can say, as one HTML page: forecasts beyond the largest run, a check on it, provenance."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from forecast.api.predict import Prediction, predict_ladders
from forecast.core.errors import ForecastError, InputError, NotForecastableError
from forecast.core.forecasts import Forecast, Target
from forecast.core.metrics import ACCURACY_METRICS
from forecast.core.names import read_names
from forecast.core.observations import Ladder
from forecast.core.progress import Progress, SilentProgress
from forecast.core.scale import check_scale
from forecast.core.whole_files import replacing
from forecast.forecasting.engine import check_question
from forecast.forecasting.preparation import choose_metric
from forecast.observations.ladders import Wanted, shots_rule, stored_siblings
from forecast.observations.measures import by_rule
from forecast.observations.questions import Question
from forecast.observations.task_groups import asked_shots, members_of, stored_members, union_of
from forecast.report.forecast_figure import draw_forecast
from forecast.report.page import ReportContent, Section, render_page
from forecast.store import Store

DEFAULT_FACTORS = (10.0, 100.0)
"""Targets when none is named: so many times the largest run's compute."""

_PROVENANCE = """
    SELECT family, task, num_fewshot AS shots, source, definition, count(DISTINCT model) AS models, count(*) AS checkpoints
    FROM observations GROUP BY ALL ORDER BY ALL
"""


def write_report(
    db: str | Path,
    out: str | Path,
    *,
    tasks: str | Sequence[str] | None = None,
    families: str | Sequence[str] | None = None,
    num_fewshot: int | None = None,
    chance: float | None = None,
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
        num_fewshot: shots, where a task was measured with several; None takes the card's, else those of most runs.
        chance: accuracy of guessing on the named tasks; None takes the data's, else the card's.
        flops: training FLOPs of the targets; none means 10 and 100 times each ladder's largest run.
        level: nominal coverage of the intervals.
        seed: of everything random.
        progress: where bars and notices go.

    Raises:
        InputError: there is no such results file.
        UsageError: an unknown task or family, a group whose tasks were not asked alike, or a target or level out of range.
        NotForecastableError: nothing is stored that has an accuracy.
    """
    progress = progress or SilentProgress()
    db, out, tasks, families = Path(db), Path(out), read_names("tasks", tasks), read_names("families", families)
    if not db.is_file():
        raise InputError(
            f"there is no {db}", expected="a results file", remedy="run `forecast eval` first, or name it with `db=`"
        )
    check_question([], method="auto", level=level)
    for amount in flops:
        check_scale("`flops=`", flops=amount)
    wanted = Wanted(tasks=tasks, num_fewshot=num_fewshot, chance=chance)
    store = Store(db)
    ladders = _read(store, wanted, families, progress)
    if not ladders:
        raise NotForecastableError(f"{db} holds no accuracies", remedy="run `forecast eval` or `forecast import` first")
    sections: list[Section] = []
    with progress.stage("report", len(ladders), "sections") as stage:
        for family in dict.fromkeys(ladder.family for ladder in ladders):
            stage.describe(family)
            own = [ladder for ladder in ladders if ladder.family == family]
            siblings = stored_siblings(db, family, {ladder.task: ladder for ladder in own}, num_fewshot)
            sections += _sections(own, siblings, flops, level=level, seed=seed, progress=progress)
            stage.advance(len(own))
    content = ReportContent(
        title="Capability forecasts",
        created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        version=version("capability-forecast"),
        database=db.name,
        sections=tuple(sections),
        provenance=tuple(row for batch in store.query(_PROVENANCE) for row in batch.to_pylist()),
    )
    try:
        with replacing(out) as partial:
            partial.write_text(render_page(content), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror}", remedy="name another file with `out=`") from error
    return len(sections)


def _read(store: Store, wanted: Wanted, families: Sequence[str] | None, progress: Progress) -> list[Ladder]:
    """The ladders with an accuracy that are meant, of every family, with their measures chosen."""
    shots, tasks = wanted.num_fewshot, wanted.tasks
    held = {task: stored_members(store, [task], families, shots) for task in tasks or ()}
    names = None if tasks is None else list(dict.fromkeys(name for members in held.values() for name in members))
    rule = shots_rule(shots, {name: asked_shots(task, name, shots) for task, members in held.items() for name in members})
    found = store.ladders(tasks=names, families=families, choose_shots=rule, with_items=True, notice=progress.notice)
    ladders = [ladder for ladder in found if _has_accuracy(ladder)]
    if tasks is not None:
        ladders = _named(ladders, tasks, shots, progress)
    return [by_rule(ladder, chance=wanted.chance) for ladder in ladders]


def _has_accuracy(ladder: Ladder) -> bool:
    return any(np.isfinite(ladder.metrics[name]).any() for name in ACCURACY_METRICS if name in ladder.metrics)


def _named(ladders: Sequence[Ladder], tasks: Sequence[str], num_fewshot: int | None, progress: Progress) -> list[Ladder]:
    """Each family's ladders of the tasks named, a group's joined; one that cannot be joined is left out, if any can."""
    named: list[Ladder] = []
    failed: list[tuple[str, ForecastError]] = []
    for family in dict.fromkeys(ladder.family for ladder in ladders):
        own = {ladder.task: ladder for ladder in ladders if ladder.family == family}
        for task in dict.fromkeys(tasks):
            try:
                members = [own[name] for name in members_of(task, own, num_fewshot) if name in own]
                named += [union_of(task, members, progress.notice)] if members else []
            except ForecastError as error:
                failed.append((f"{family}, {task}", error))
    for name, reason in failed:
        if not named:
            raise reason
        progress.notice(f"{name} is left out: {reason}")
    return named


def _sections(
    ladders: Sequence[Ladder],
    siblings: Sequence[Ladder],
    flops: Sequence[float],
    *,
    level: float,
    seed: int,
    progress: Progress,
) -> list[Section]:
    """One section per task of a family; they share the scale of their intervals, as in `predict`."""
    largest = {ladder.task: _largest(ladder) for ladder in ladders}
    ahead = [
        Question(ladder=ladder, targets=_targets(float(ladder.flops[row]), flops))
        for ladder in ladders
        if (row := largest[ladder.task]) is not None
    ]
    check = [
        Question(ladder=ladder, holdout=ladder.model[row])
        for ladder in ladders
        if (row := largest[ladder.task]) is not None and len(set(ladder.model)) > 3
    ]
    forecasts, failed = predict_ladders(ahead, siblings=siblings, level=level, seed=seed, progress=progress)
    checks, _ = predict_ladders(check, siblings=siblings, level=level, seed=seed, progress=progress)
    unknown = NotForecastableError("no checkpoint has both known training FLOPs and an accuracy")
    reasons = failed | {task: unknown for task, row in largest.items() if row is None}
    return [
        _section(
            ladder,
            largest[ladder.task],
            [entry for entry in forecasts if entry.forecast.task == ladder.task],
            next((entry.forecast for entry in checks if entry.forecast.task == ladder.task), None),
            reasons.get(ladder.task),
        )
        for ladder in ladders
    ]


def _largest(ladder: Ladder) -> int | None:
    """Row of the checkpoint with the most compute that has an accuracy."""
    known = np.isfinite(ladder.flops) & (ladder.flops > 0) & np.isfinite(ladder.metrics[choose_metric(ladder, None)])
    return int(np.argmax(np.where(known, ladder.flops, -np.inf))) if known.any() else None


def _targets(top: float, flops: Sequence[float]) -> list[Target]:
    return [
        Target(name=f"{amount / top:.3g} x the largest run", flops=amount)
        for amount in (flops or [factor * top for factor in DEFAULT_FACTORS])
    ]


def _section(
    ladder: Ladder, row: int | None, forecasts: Sequence[Prediction], check: Forecast | None, problem: Exception | None
) -> Section:
    metric = choose_metric(ladder, None)
    known = np.isfinite(ladder.flops) & (ladder.flops > 0) & np.isfinite(ladder.metrics[metric])
    return Section(
        family=ladder.family,
        task=ladder.task,
        n_checkpoints=len(ladder),
        n_runs=len(set(ladder.model)),
        min_flops=float(ladder.flops[known].min()) if known.any() else math.nan,
        max_flops=float(ladder.flops[row]) if row is not None else math.nan,
        chance=ladder.chance,
        largest_model=ladder.model[row] if row is not None else "",
        largest_accuracy=float(ladder.metrics[metric][row]) if row is not None else None,
        accuracy_metric=metric,
        num_fewshot=ladder.num_fewshot,
        forecasts=tuple(entry.forecast for entry in forecasts),
        check=check,
        figure_svg=_figure(forecasts[-1]) if forecasts else "",
        problem=f"No forecast: {problem}." if problem is not None else "",
    )


def _figure(prediction: Prediction) -> str:
    with TemporaryDirectory() as folder:
        path = draw_forecast(prediction.fitted, prediction.forecast, Path(folder) / "figure.svg")
        text = path.read_text(encoding="utf-8")
    return text[text.index("<svg") :]
