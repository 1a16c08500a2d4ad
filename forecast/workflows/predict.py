"""From stored results to forecasts: choose ladders, hide what is held out, forecast each task and target."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from forecast.core.errors import InputError, NotForecastableError, StoreError, UsageError
from forecast.core.forecasts import Forecast, Target
from forecast.core.observations import ACCURACY_METRICS, Ladder
from forecast.core.progress import Progress, SilentProgress
from forecast.forecasting.engine import check_question, forecast_ladder
from forecast.forecasting.preparation import choose_metric
from forecast.forecasting.provenance import code_version, data_hash
from forecast.workflows.task_groups import join_tasks, members_of


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One forecast with the ladder it was fitted on and the held-out rows, for drawing."""

    forecast: Forecast
    fitted: Ladder
    held_out: Ladder | None


def load_ladders(
    source: Path,
    *,
    tasks: Sequence[str] | None,
    family: str | None,
    num_fewshot: int | None = None,
    with_items: bool = False,
    progress: Progress | None = None,
) -> list[Ladder]:
    """Read the ladders that are meant: from a results file, or from a CSV or Parquet table of observations.

    Where a family was measured on a task by several definitions, the one with the most runs is taken and a notice says so.

    Raises:
        InputError: there is no such file.
        NotForecastableError: it holds no results.
        UsageError: unknown task or family, with the nearest names; or several families and none was named.
    """
    progress = progress or SilentProgress()
    ladders = _read(source, tasks, family, num_fewshot, with_items, progress)
    ladders = [ladder for ladder in ladders if _has_accuracy(ladder)]
    if not ladders:
        raise NotForecastableError(
            f"no results to fit in {source}", expected="accuracies of several checkpoints", remedy="run `forecast eval` first"
        )
    if family is not None:
        _require("family", [family], {ladder.family for ladder in ladders})
        ladders = [ladder for ladder in ladders if ladder.family == family]
    known = sorted({ladder.task for ladder in ladders})
    wanted = {task: members_of(task, known) for task in (tasks if tasks is not None else known)}
    members = list(dict.fromkeys(name for names in wanted.values() for name in names))
    _require("task", members, set(known))
    ladders = [ladder for ladder in ladders if ladder.task in members]
    families = sorted({ladder.family for ladder in ladders})
    if len(families) > 1:
        raise UsageError(
            f"{source} holds {len(families)} families on these tasks ({', '.join(families[:6])})",
            remedy="name one with --family",
        )
    if num_fewshot is not None:
        ladders = [ladder for ladder in ladders if ladder.num_fewshot == num_fewshot]
        if not ladders:
            raise UsageError(f"no results with {num_fewshot} shots on these tasks")
    chosen = _one_definition_each(ladders, members, progress)
    return [chosen[names[0]] if len(names) == 1 else _join(task, names, chosen, progress) for task, names in wanted.items()]


def _join(group: str, names: Sequence[str], chosen: Mapping[str, Ladder], progress: Progress) -> Ladder:
    joined = join_tasks(group, [chosen[name] for name in names])
    items = 0 if joined.n_items is None else int(joined.n_items.max())
    progress.notice(f"{group} is the union of {len(names)} tasks with {items} items, of the checkpoints that answered all")
    return joined


def _read(
    source: Path,
    tasks: Sequence[str] | None,
    family: str | None,
    num_fewshot: int | None,
    with_items: bool,
    progress: Progress,
) -> list[Ladder]:
    if not source.exists():
        raise InputError(
            f"there is no {source}", expected="a results file or a table of observations", remedy="run `forecast eval` first"
        )
    if source.name.endswith((".csv", ".csv.gz", ".parquet")):
        from forecast.core.observation_rows import to_ladders
        from forecast.importers import read_observations

        return to_ladders(read_observations(source, notice=progress.notice), notice=progress.notice)
    from forecast.store import Store

    store = Store(source)
    if tasks is not None:
        stored = [row["task"] for part in store.query("SELECT DISTINCT task FROM observations") for row in part.to_pylist()]
        tasks = list(dict.fromkeys(name for task in tasks for name in members_of(task, stored)))
    return store.ladders(
        tasks=tasks,
        families=None if family is None else [family],
        num_fewshot=num_fewshot,
        with_items=with_items,
        notice=progress.notice,
    )


def _has_accuracy(ladder: Ladder) -> bool:
    return any(name in ladder.metrics for name in ACCURACY_METRICS)


def _require(kind: str, wanted: Sequence[str], known: set[str]) -> None:
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.4)
            raise UsageError(
                f"unknown {kind} '{name}'" + (f" (nearest: {', '.join(near)})" if near else ""),
                expected="one of " + ", ".join(sorted(known)[:20]),
            )


def _one_definition_each(ladders: list[Ladder], tasks: Sequence[str], progress: Progress) -> dict[str, Ladder]:
    by_task: dict[str, list[Ladder]] = {}
    for ladder in ladders:
        by_task.setdefault(ladder.task, []).append(ladder)
    chosen = {}
    for task in tasks:
        variants = sorted(by_task[task], key=lambda ladder: -len(set(ladder.model)))
        if len(variants) > 1:
            shots = variants[0].num_fewshot
            progress.notice(
                f"{task} was measured in {len(variants)} ways that are never mixed; the one with the most runs"
                f" ({'unknown' if shots is None else shots} shots) is used; --num-fewshot chooses another"
            )
        chosen[task] = variants[0]
    return chosen


def hold_out(ladder: Ladder, model: str) -> tuple[Ladder, Ladder, Target]:
    """Split a ladder into all other runs, the held-out run, and the target that its end stands for.

    Only the named run is removed; runs larger than it stay.

    Raises:
        UsageError: no run has that name.
        NotForecastableError: the run has no known training FLOPs.
    """
    _require("model", [model], set(ladder.model))
    own = np.array([name == model for name in ladder.model])
    held = ladder.take(own)
    known = np.isfinite(held.flops) & (held.flops > 0)
    if not known.any():
        raise NotForecastableError(
            f"the training FLOPs of '{model}' are unknown", remedy="give --flops, or --params and --tokens"
        )
    ends = known & held.is_final if (known & held.is_final).any() else known
    end = int(np.flatnonzero(ends)[np.argmax(held.flops[ends])])

    def number(value: float) -> float | None:
        return float(value) if np.isfinite(value) and value > 0 else None

    target = Target(name=model, params=number(held.params[end]), tokens=number(held.tokens[end]), flops=number(held.flops[end]))
    return ladder.take(~own), held.take(np.array([end])), target


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
    """Forecast the targets, or the held-out run, of one ladder."""
    held: Ladder | None = None
    fitted = ladder
    notes: tuple[str, ...] = ()
    wanted = list(targets)
    if holdout is not None:
        fitted, held, target = hold_out(ladder, holdout)
        wanted.append(target)
        larger = {name for name, c in zip(fitted.model, fitted.flops, strict=True) if c > (target.flops or np.inf)}
        if fit_max_flops is not None:
            larger = set()
        if larger:
            notes = (f"{len(larger)} of the remaining runs are larger than {holdout}: this is no extrapolation.",)
    if fit_max_flops is not None:
        fitted = fitted.take(fitted.flops <= fit_max_flops)
        if len(fitted) == 0:
            raise NotForecastableError(f"no run of {ladder.family} on {ladder.task} has at most {fit_max_flops:g} FLOPs")
    name = choose_metric(fitted, metric)
    found = []
    made = forecast_ladder(fitted, wanted, method=method, level=level, seed=seed, metric=name, recipe_shift=recipe_shift)
    for forecast in made:
        truth = None
        if held is not None and forecast.target.name == holdout and name in held.metrics:
            truth = float(held.metrics[name][0]) if np.isfinite(held.metrics[name][0]) else None
        complete = replace(forecast, truth=truth, warnings=forecast.warnings + notes)
        found.append(Prediction(forecast=complete, fitted=fitted, held_out=held))
    return found


def predict(
    source: Path,
    *,
    tasks: Sequence[str] | None,
    family: str | None = None,
    targets: Sequence[Target] = (),
    holdout: str | None = None,
    method: str = "auto",
    level: float = 0.9,
    seed: int = 0,
    metric: str | None = None,
    num_fewshot: int | None = None,
    fit_max_flops: float | None = None,
    recipe_shift: float = 0.0,
    progress: Progress | None = None,
    on_failure: Callable[[str, NotForecastableError], None] | None = None,
) -> list[Prediction]:
    """Forecast several targets on several tasks from what is stored.

    Args:
        source: results file (DuckDB) or table of observations (CSV, Parquet).
        tasks: benchmarks; None takes all.
        family: may be None when the source holds one family only.
        targets: models to forecast.
        holdout: a stored run to forecast from all others; its rows are never fitted.
        method: `auto` or a method's name.
        level: nominal coverage of the intervals.
        seed: of everything random.
        metric: accuracy metric; None takes the first measured.
        num_fewshot: shots, where a task was measured with several.
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
        raise UsageError("nothing to forecast", expected="--flops, --params with --tokens, --holdout MODEL or --targets FILE")
    if fit_max_flops is not None and not (np.isfinite(fit_max_flops) and fit_max_flops > 0):
        raise UsageError(f"--fit-max-flops is {fit_max_flops}", expected="a positive number of training FLOPs")
    check_question(targets, method=method, level=level, recipe_shift=recipe_shift)
    tasks = None if tasks is None else list(dict.fromkeys(tasks))
    ladders = load_ladders(source, tasks=tasks, family=family, num_fewshot=num_fewshot, with_items=True, progress=progress)
    found: list[Prediction] = []
    failed: dict[str, NotForecastableError] = {}
    with progress.stage("forecasting", len(ladders), "tasks") as stage:
        for ladder in ladders:
            stage.describe(ladder.task)
            try:
                found += predict_ladder(
                    ladder,
                    targets,
                    holdout=holdout,
                    method=method,
                    level=level,
                    seed=seed,
                    metric=metric,
                    fit_max_flops=fit_max_flops,
                    recipe_shift=recipe_shift,
                )
            except NotForecastableError as error:
                failed[ladder.task] = error
                if on_failure is None:
                    break
            stage.advance()
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
            raise StoreError(f"{path} cannot be written", expected="a results file of your own", remedy="choose another --db")
    if db.exists():
        next(Store(db).query("SELECT 1"), None)


def save_predictions(found: Sequence[Prediction], db: Path) -> list[str]:
    """Store forecasts with the hashes of their data and code, and return their ids.

    A held-out truth is not stored with its forecast: the record says what was known when it was made.
    """
    from forecast.store import Store

    store = Store(db)
    return [
        store.save_forecast(replace(entry.forecast, truth=None), data_hash=data_hash(entry.fitted), code_version=code_version())
        for entry in found
    ]


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


def read_targets(path: Path) -> list[Target]:
    """Read a CSV with the columns name, params, tokens, flops; numbers that are unknown are left empty.

    Raises:
        InputError: no such file, a column missing, or a value that is no positive number.
    """
    import csv

    try:
        with path.open(newline="", encoding="utf-8") as handle:
            rows = list(csv.DictReader(handle))
    except (OSError, UnicodeDecodeError) as error:
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
        targets.append(
            Target(
                name=row["name"] or f"line {line}", params=numbers["params"], tokens=numbers["tokens"], flops=numbers["flops"]
            )
        )
    return targets
