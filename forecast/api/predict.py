"""From stored results to forecasts: choose ladders, hide what is held out, forecast each task and target."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from forecast.core.errors import InputError, NotForecastableError, StoreError, UsageError
from forecast.core.forecasts import Forecast, Target
from forecast.core.names import read_names
from forecast.core.observations import Ladder
from forecast.core.progress import Progress, SilentProgress
from forecast.core.scale import check_scale
from forecast.core.user_files import read_user_text
from forecast.forecasting.engine import Rehearsed, check_question, forecast_rehearsed, rehearse_ladder
from forecast.forecasting.preparation import choose_metric
from forecast.forecasting.provenance import code_version, data_hash
from forecast.observations.ladders import Wanted, load_with_siblings, require
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
    *,
    siblings: Sequence[Ladder] = (),
    method: str = "auto",
    level: float = 0.9,
    seed: int = 0,
    metric: str | None = None,
    recipe_shift: float = 0.0,
    progress: Progress | None = None,
) -> tuple[list[Prediction], dict[str, NotForecastableError]]:
    """Forecast several tasks of one family.

    Args:
        questions: one per task.
        siblings: tasks of the family, asked or not, whose back-tests help to scale the intervals of the others.
        method: `auto` or a method's name.
        level: nominal coverage of the intervals.
        seed: of everything random.
        metric: accuracy metric; None takes that of the task's card, else the first measured.
        recipe_shift: what another recipe may move the targets by (standard deviation, as a fraction).
        progress: where the bar goes; one unit per back-tested task.

    Returns:
        Predictions, and for each task that cannot be forecast why.

    Raises:
        UsageError: an unknown metric, or a method that the runs cannot carry.
    """
    progress = progress or SilentProgress()
    failed: dict[str, NotForecastableError] = {}
    own: dict[str, Rehearsed] = {}
    held: dict[str, Ladder | None] = {}
    beside: dict[str, list[Window]] = {}
    done: dict[object, Rehearsed | None] = {}
    with progress.stage("back-testing", len(questions), "tasks") as stage:
        for question in questions:
            task = question.ladder.task
            stage.describe(task)
            try:
                fitted, targets, held[task] = question.split()
                name = choose_metric(fitted, metric)
                own[task] = rehearse_ladder(fitted, targets, method=method, seed=seed, metric=name)
            except NotForecastableError as error:
                failed[task] = error
            else:
                beside[task] = windows_beside(question, fitted, targets, siblings)
                if question.ladder.items is None:
                    done[window_of(question.ladder, fitted, targets, question.holdout).key] = own[task]
            stage.advance()
    missing = {window.key: window for windows in beside.values() for window in windows if window.key not in done}
    with progress.stage("back-testing beside", len(missing), "tasks") as stage:
        for key, window in missing.items():
            stage.describe(window.ladder.task)
            done[key] = _rehearse_beside(window, method, metric, seed)
            stage.advance()
    found: list[Prediction] = []
    with progress.stage("forecasting", len(own), "tasks") as stage:
        for question in questions:
            task = question.ladder.task
            if task in own:
                others = [done[window.key] for window in beside[task]]
                elsewhere = [other for other in others if other is not None and other.evidence]
                try:
                    made = _forecast(own[task], held[task], elsewhere, level, seed, recipe_shift)
                    found += [_with_notes(entry, _silent(len(others), len(elsewhere))) for entry in made]
                except NotForecastableError as error:
                    failed[task] = error
                stage.advance()
    return found, failed


def _rehearse_beside(window: Window, method: str, metric: str | None, seed: int) -> Rehearsed | None:
    """Back-test a sibling; None where it cannot carry the method or too little of it may be seen."""
    ladder = window.ladder
    try:
        name = choose_metric(ladder, metric if metric in ladder.metrics else None)
        return rehearse_ladder(ladder, window.targets, method=method, seed=seed, metric=name)
    except (NotForecastableError, UsageError):
        return None


def _forecast(
    own: Rehearsed, held: Ladder | None, elsewhere: Sequence[Rehearsed], level: float, seed: int, recipe_shift: float
) -> list[Prediction]:
    fitted = own.ladder
    made = forecast_rehearsed(
        own, level=level, seed=seed, recipe_shift=recipe_shift, elsewhere=[other.evidence for other in elsewhere]
    )
    found = []
    for forecast in made:
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
    ladder: Ladder,
    targets: Sequence[Target],
    *,
    holdout: str | None = None,
    method: str = "auto",
    level: float = 0.9,
    seed: int = 0,
    metric: str | None = None,
    fit_max_flops: float | None = None,
    recipe_shift: float = 0.0,
) -> list[Prediction]:
    """Forecast the targets, or the held-out run, of one ladder by itself; errors as for `predict`."""
    question = Question(ladder=ladder, targets=targets, holdout=holdout, fit_max_flops=fit_max_flops)
    found, failed = predict_ladders([question], method=method, level=level, seed=seed, metric=metric, recipe_shift=recipe_shift)
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
    progress: Progress | None = None,
    on_failure: Callable[[str, NotForecastableError], None] | None = None,
) -> list[Prediction]:
    """Forecast several targets on several tasks from what is stored.

    Args:
        source: results file (DuckDB) or table of observations (CSV, Parquet).
        tasks: benchmarks, as a list or separated by commas; None takes all.
        family: may be None when the source holds one family only.
        targets: models to forecast.
        holdout: a stored run to forecast from all others; its rows are never fitted.
        method: `auto` or a method's name.
        level: nominal coverage of the intervals.
        seed: of everything random.
        metric: accuracy metric; None takes that of the task's card, else the first measured.
        num_fewshot: shots, where a task was measured with several; None takes the card's, else those of most runs.
        chance: accuracy of guessing on the named tasks; None takes the data's, else the card's.
        fit_max_flops: fit on checkpoints of at most so much compute.
        recipe_shift: what another recipe may move the target by (standard deviation, as a fraction).
        progress: where bars and notices go.
        on_failure: told of each task that cannot be forecast while others can; without it the first such task is raised.

    Raises:
        UsageError: unknown names, nothing to forecast.
        NotForecastableError: too little to fit, on every task if `on_failure` is given.
    """
    progress = progress or SilentProgress()
    if holdout is None and not targets:
        raise UsageError("nothing to forecast", expected="`flops=`, `params=` with `tokens=`, `holdout=` or `targets=`")
    if fit_max_flops is not None:
        check_scale("`fit_max_flops=`", flops=fit_max_flops)
    check_question(targets, method=method, level=level, recipe_shift=recipe_shift)
    source = Path(source)
    wanted = Wanted(tasks=read_names("tasks", tasks), family=family, num_fewshot=num_fewshot, chance=chance)
    ladders, siblings = load_with_siblings(source, wanted, progress=progress)
    if holdout is not None:
        require("model", [holdout], {name for ladder in ladders for name in ladder.model})
    found, failed = predict_ladders(
        [Question(ladder=ladder, targets=targets, holdout=holdout, fit_max_flops=fit_max_flops) for ladder in ladders],
        siblings=siblings,
        method=method,
        level=level,
        seed=seed,
        metric=metric,
        recipe_shift=recipe_shift,
        progress=progress,
    )
    for task, reason in failed.items():
        if not found or on_failure is None:
            raise reason
        on_failure(task, reason)
    return found


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
        next(Store(db).query("SELECT 1"), None)


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
    """Return all stored forecasts, oldest first, each with its truth, error and whether the interval held, once known.

    Raises:
        InputError: there is no such file.
    """
    from forecast.store import Store

    if not db.exists():
        raise InputError(
            f"there is no {db}", expected="a results file", remedy="store a forecast with `forecast predict --save`"
        )
    rows = Store(db).forecasts()
    for row in rows:
        truth, point, lo, hi = (row.get(name) for name in ("truth", "point", "lo", "hi"))
        known = isinstance(truth, float) and isinstance(point, float) and isinstance(lo, float) and isinstance(hi, float)
        row["error"] = point - truth if known else None  # type: ignore[operator]  # `known` says that both are numbers
        row["inside"] = lo <= truth <= hi if known else None  # type: ignore[operator]
    return rows


def read_targets(path: str | Path) -> list[Target]:
    """Read a CSV with the columns name, params, tokens, flops; numbers that are unknown are left empty.

    Raises:
        InputError: no such file, not a regular or readable one, a column missing, or a value that is no positive number.
    """
    import csv

    path = Path(path)
    try:
        text = read_user_text(path, expected="a CSV with columns name, params, tokens, flops")
        rows = list(csv.DictReader(text.splitlines(keepends=True)))
    except csv.Error as error:
        raise InputError(
            f"{path} cannot be read: {error}", expected="a CSV with columns name, params, tokens, flops"
        ) from error
    if not rows or "name" not in rows[0]:
        raise InputError(f"{path} names no targets", expected="a CSV with columns name, params, tokens, flops")
    targets = []
    for line, row in enumerate(rows, start=2):
        numbers: dict[str, float | None] = {}
        for column in ("params", "tokens", "flops"):
            text = (row.get(column) or "").strip()
            try:
                numbers[column] = float(text) if text else None
            except ValueError as error:
                raise InputError(f"{path} line {line}: {column} is '{text}'", expected="a positive number") from error
        params, tokens, flops = numbers["params"], numbers["tokens"], numbers["flops"]
        check_scale(f"{path} line {line}", params=params, tokens=tokens, flops=flops, error=InputError)
        targets.append(Target(name=row["name"] or f"line {line}", params=params, tokens=tokens, flops=flops))
    return targets
