"""From stored results to forecasts: choose ladders, hide what is held out, forecast each task and target."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from forecast.api.reference_forecasts import (
    ReferenceOpinion,
    ReferenceWish,
    ask_references,
    forecasts_by_references,
    other_families,
    reference_pool,
    with_references,
)
from forecast.core.errors import InputError, NotForecastableError, StoreError, UsageError
from forecast.core.forecasts import Forecast, Target
from forecast.core.names import read_names
from forecast.core.nearest import require
from forecast.core.observations import Ladder
from forecast.core.progress import Progress, SilentProgress
from forecast.forecasting.engine import Rehearsed, forecast_rehearsed, rehearse_ladder
from forecast.forecasting.provenance import code_version, data_hash
from forecast.forecasting.request import AUTO, ForecastRequest
from forecast.forecasting.targets import check_target
from forecast.observations.ladders import Wanted, load_with_siblings
from forecast.observations.questions import Question, Window, window_of, windows_beside

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One forecast with the ladder it was fitted on and the held-out rows, for drawing."""

    forecast: Forecast
    fitted: Ladder
    held_out: Ladder | None
    siblings: Sequence[Ladder] = ()
    """Other tasks of the family whose back-tests helped to scale the interval."""

    def __repr__(self) -> str:
        """The forecast, in one line."""
        return f"<Prediction {self.forecast!r}>"

    def plot(self) -> Figure:
        """Return the forecast as a matplotlib Figure: one panel per step, and compute to accuracy."""
        from forecast.report.forecast_figure import forecast_figure

        return forecast_figure(self.fitted, self.forecast, held_out=self.held_out)


def predict_ladders(
    questions: Sequence[Question],
    request: ForecastRequest = AUTO,
    *,
    siblings: Sequence[Ladder] = (),
    progress: Progress | None = None,
) -> tuple[list[Prediction], dict[str, NotForecastableError]]:
    """Forecast several tasks of one family.

    Args:
        questions: one per task.
        request: how.
        siblings: tasks of the family, asked or not, whose back-tests help to scale the intervals of the others.
        progress: where the bar goes; one unit per back-tested task.

    Returns:
        Predictions, and for each task that cannot be forecast why.

    Raises:
        UsageError: an unknown metric, or a method that the runs cannot carry.
    """
    progress = progress or SilentProgress()
    ready, failed = _rehearse(questions, request, siblings, progress)
    done = _rehearse_beside(list(ready.values()), request, progress)
    found: list[Prediction] = []
    with progress.stage("forecasting", len(ready), "tasks") as stage:
        for task, entry in ready.items():
            others = [done[window.key] for window in entry.beside]
            elsewhere = [other for other in others if other is not None and other.evidence]
            try:
                made = _forecast(entry, elsewhere, request)
                found += [_with_notes(one, _silent(len(others), len(elsewhere))) for one in made]
            except NotForecastableError as error:
                failed[task] = error
            stage.advance()
    return found, failed


@dataclass(frozen=True, kw_only=True)
class _Ready:
    """A question that can be answered."""

    question: Question
    targets: Sequence[Target]
    own: Rehearsed
    held: Ladder | None
    beside: Sequence[Window]
    """What may be seen of the family's other tasks."""


def _rehearse(
    questions: Sequence[Question], request: ForecastRequest, siblings: Sequence[Ladder], progress: Progress
) -> tuple[dict[str, _Ready], dict[str, NotForecastableError]]:
    """Back-test every task that is asked for."""
    ready: dict[str, _Ready] = {}
    failed: dict[str, NotForecastableError] = {}
    with progress.stage("back-testing", len(questions), "tasks") as stage:
        for question in questions:
            task = question.ladder.task
            stage.describe(task)
            try:
                fitted, targets, held = question.split()
                own = rehearse_ladder(fitted, targets, request)
            except NotForecastableError as error:
                failed[task] = error
            else:
                beside = windows_beside(question, fitted, targets, siblings)
                ready[task] = _Ready(question=question, targets=targets, own=own, held=held, beside=beside)
            stage.advance()
    return ready, failed


def _rehearse_beside(ready: Sequence[_Ready], request: ForecastRequest, progress: Progress) -> dict[object, Rehearsed | None]:
    """Back-test the windows beside, each once; None where one cannot carry the method or too little of it may be seen."""
    done: dict[object, Rehearsed | None] = {}
    for entry in ready:
        question = entry.question
        if question.ladder.items is None:  # As a sibling it would be back-tested without items, too.
            done[window_of(question.ladder, entry.own.ladder, entry.targets, question.holdout).key] = entry.own
    windows = {window.key: window for entry in ready for window in entry.beside if window.key not in done}
    with progress.stage("back-testing beside", len(windows), "tasks") as stage:
        for key, window in windows.items():
            ladder = window.ladder
            stage.describe(ladder.task)
            metric = request.metric if request.metric in ladder.metrics else None
            try:
                done[key] = rehearse_ladder(ladder, window.targets, replace(request, metric=metric))
            except (NotForecastableError, UsageError):
                done[key] = None
            stage.advance()
    return done


def _forecast(entry: _Ready, elsewhere: Sequence[Rehearsed], request: ForecastRequest) -> list[Prediction]:
    own, held, fitted = entry.own, entry.held, entry.own.ladder
    found = []
    for forecast in forecast_rehearsed(own, request, elsewhere=[other.evidence for other in elsewhere]):
        truth: float | None = None
        notes: tuple[str, ...] = ()
        if held is not None and forecast.target.name == held.model[0]:
            value = float(held.metrics[own.prepared.metric][0]) if own.prepared.metric in held.metrics else np.nan
            truth = value if np.isfinite(value) else None
            larger = {name for name, c in zip(fitted.model, fitted.flops, strict=True) if c > (forecast.target.flops or np.inf)}
            if larger:
                notes = (f"{len(larger)} of the remaining runs are larger than {held.model[0]}: this is no extrapolation.",)
        complete = replace(forecast, truth=truth, warnings=forecast.warnings + notes)
        found.append(
            Prediction(forecast=complete, fitted=fitted, held_out=held, siblings=tuple(other.ladder for other in elsewhere))
        )
    return found


def _silent(siblings: int, speaking: int) -> tuple[str, ...]:
    """A sentence on the siblings whose back-tests say nothing."""
    if speaking == siblings:
        return ()
    return (
        f"{siblings - speaking} of {siblings} other tasks of the family could not be back-tested and do not help to scale the"
        " interval.",
    )


def _with_notes(entry: Prediction, notes: tuple[str, ...]) -> Prediction:
    return replace(entry, forecast=replace(entry.forecast, warnings=entry.forecast.warnings + notes)) if notes else entry


def predict_ladder(
    ladder: Ladder, targets: Sequence[Target], request: ForecastRequest = AUTO, *, holdout: str | None = None
) -> list[Prediction]:
    """Forecast the targets, or the held-out run, of one ladder by itself; errors as for `predict`."""
    question = Question(ladder=ladder, targets=targets, holdout=holdout, fit_max_flops=request.fit_max_flops)
    found, failed = predict_ladders([question], request)
    for reason in failed.values():
        raise reason
    return found


def predict(
    source: str | Path,
    *,
    tasks: str | Sequence[str] | None = None,
    family: str | None = None,
    targets: Sequence[Target] = (),
    holdout: str | None = None,
    method: str = "auto",
    level: float = 0.9,
    seed: int = 0,
    metric: str | None = None,
    num_fewshot: int | None = None,
    chance: float | None = None,
    fit_max_flops: float | None = None,
    recipe_shift: float = 0.0,
    reference: str | Sequence[str] | None = None,
    reference_table: str | Path | None = None,
    progress: Progress | None = None,
    on_failure: Callable[[str, NotForecastableError], None] | None = None,
) -> list[Prediction]:
    """Forecast several targets on several tasks: `answer`, with a request's fields (`ForecastRequest`) as keywords.

    `reference` names other families, or says "all" or "none"; None uses them only where own runs are too few.
    """
    names = read_names("reference", reference)
    wish = ReferenceWish(
        names=None if names is None else tuple(names), table=None if reference_table is None else Path(reference_table)
    )
    request = ForecastRequest(
        method=method,
        level=level,
        seed=seed,
        metric=metric,
        num_fewshot=num_fewshot,
        chance=chance,
        fit_max_flops=fit_max_flops,
        recipe_shift=recipe_shift,
    )
    return answer(
        Path(source),
        request,
        tasks=read_names("tasks", tasks),
        family=family,
        targets=targets,
        holdout=holdout,
        wish=wish,
        progress=progress,
        on_failure=on_failure,
    )


def answer(
    source: Path,
    request: ForecastRequest = AUTO,
    *,
    tasks: Sequence[str] | None,
    family: str | None = None,
    targets: Sequence[Target] = (),
    holdout: str | None = None,
    wish: ReferenceWish | None = None,
    progress: Progress | None = None,
    on_failure: Callable[[str, NotForecastableError], None] | None = None,
) -> list[Prediction]:
    """Forecast several targets on several tasks from what is stored.

    Args:
        source: results file (DuckDB) or table of observations (CSV, Parquet).
        request: how.
        tasks: benchmarks; None takes all.
        family: may be None when the source holds one family only.
        targets: models to forecast.
        holdout: a stored run to forecast from all others; its rows are never fitted.
        wish: which other families may be used; None: any, only where own runs are too few.
        progress: where bars and notices go.
        on_failure: told of each task that cannot be forecast while others can; without it the first such task is raised.

    Raises:
        UsageError: unknown names, nothing to forecast.
        NotForecastableError: too little to fit, on every task if `on_failure` is given.
    """
    progress = progress or SilentProgress()
    if holdout is None and not targets:
        raise UsageError("nothing to forecast", expected="`flops=`, `params=` with `tokens=`, `holdout=` or `targets=`")
    for target in targets:
        check_target(target)
    wanted = Wanted(tasks=tasks, family=family, num_fewshot=request.num_fewshot, chance=request.chance)
    ladders, siblings = load_with_siblings(source, wanted, progress=progress)
    if holdout is not None:
        require("model", [holdout], {name for ladder in ladders for name in ladder.model})
    questions = [
        Question(ladder=ladder, targets=targets, holdout=holdout, fit_max_flops=request.fit_max_flops) for ladder in ladders
    ]
    found, failed = predict_ladders(questions, request, siblings=siblings, progress=progress)
    found, failed = _referred(questions, siblings, found, failed, wish or ReferenceWish(), request, source, progress)
    for task, reason in failed.items():
        if not found or on_failure is None:
            raise reason
        on_failure(task, reason)
    return found


def _referred(
    questions: Sequence[Question],
    siblings: Sequence[Ladder],
    found: list[Prediction],
    failed: dict[str, NotForecastableError],
    wish: ReferenceWish,
    request: ForecastRequest,
    source: Path,
    progress: Progress,
) -> tuple[list[Prediction], dict[str, NotForecastableError]]:
    """Let references speak: where own runs are too few, and beside them where that is wanted."""
    if wish.unwanted or not questions or not (failed or wish.always):
        return found, failed
    if request.method != "auto":
        if wish.always:
            raise UsageError(
                f"`reference=` with method '{request.method}'", remedy="leave the method out: references join auto"
            )
        return found, failed
    family = questions[0].ladder.family
    beside = other_families(source, family, [question.ladder.task for question in questions])
    pool = reference_pool(wish, beside, family, progress=progress)
    made: list[Prediction] = []
    lost: dict[str, NotForecastableError] = {}
    for question in questions:
        task = question.ladder.task
        own = [entry for entry in found if entry.forecast.task == task]
        if own and not wish.always:
            made += own
            continue
        try:
            opinion, fitted, targets, held = ask_references(question, siblings, pool, wish, request)
        except NotForecastableError as error:
            made += [_with_notes(entry, (f"No references: {error}.",)) for entry in own]
            if not own:
                lost[task] = failed[task]
            continue
        if own:
            made += [replace(entry, forecast=with_references(entry.forecast, opinion, k)) for k, entry in enumerate(own)]
        else:
            forecasts = forecasts_by_references(opinion, fitted, targets, request, failed[task])
            made += [_by_references(forecast, opinion, fitted, held) for forecast in forecasts]
    return made, lost


def _by_references(forecast: Forecast, opinion: ReferenceOpinion, fitted: Ladder, held: Ladder | None) -> Prediction:
    truth: float | None = None
    if held is not None and forecast.target.name == held.model[0] and opinion.mine.metric in held.metrics:
        value = float(held.metrics[opinion.mine.metric][0])
        truth = value if np.isfinite(value) else None
    return Prediction(forecast=replace(forecast, truth=truth), fitted=fitted, held_out=held)


def check_saving(db: Path) -> None:
    """Check that forecasts can be stored in a results file, before they are made.

    Raises:
        StoreError: it is no results file, or it or its folder cannot be written.
    """
    from forecast.store import Store

    folder = db.absolute().parent
    for path in (folder, db) if db.exists() else (folder,):
        if not os.access(path, os.W_OK):
            raise StoreError(f"{path} cannot be written", expected="a results file of your own", remedy="choose another `db=`")
    if db.exists():
        Store(db).check_readable()


def save_predictions(found: Sequence[Prediction], db: Path) -> list[str]:
    """Store forecasts with the hashes of their data and code, and return their ids.

    A held-out truth is not stored with its forecast: the record says what was known when it was made.
    """
    from forecast.store import Store

    store = Store(db)
    ids = []
    for entry in found:
        forecast, data = replace(entry.forecast, truth=None), data_hash(entry.fitted, *entry.siblings)
        ids.append(store.save_forecast(forecast, data_hash=data, code_version=code_version()))
    return ids


def stored_forecasts(db: Path) -> list[dict[str, object]]:
    """Return all stored forecasts, oldest first, each with its truth, its errors and whether the interval held, once known.

    Raises:
        InputError: there is no such file.
    """
    from forecast.store import Store

    if not db.exists():
        raise InputError(
            f"there is no {db}", expected="a results file", remedy="store a forecast with `forecast predict --save`"
        )
    # Here `error` has always been the signed one; in the view it is the absolute one.
    return [{**row, "error": row["signed_error"]} for row in Store(db).forecasts()]
