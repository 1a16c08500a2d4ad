"""lm-eval's results files: today's (0.4.x, `acc,none`) and the old format without filters that Pythia's evaluations use."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forecast.core.answer_filters import preferred_filter
from forecast.core.errors import InputError
from forecast.core.user_files import check_user_file
from forecast.importers.lmeval_identity import ModelIdentity, identify
from forecast.importers.lmeval_json import parse_json, whole
from forecast.importers.observation_cells import shown
from forecast.importers.observation_columns import METRIC_COLUMNS, NumberColumn, is_blank


@dataclass(frozen=True, kw_only=True)
class StatedTask:
    """A task's aggregates as the file states them."""

    task: str
    metrics: Mapping[str, float]
    """Metric name without its filter -> value, in lm-eval's own units."""
    sems: Mapping[str, float]
    version: str
    num_fewshot: int | None
    fewshot_seed: int | None
    n_items: int | None
    item_limit: int | None
    """Items asked for, where not all were."""
    limit_fraction: float | None
    """Share of the items asked for, where the file says no more than that."""
    config: Mapping[str, Any] | None
    """The task's YAML; None in the old format and for groups."""
    unused: Mapping[str, str]
    """Metric -> why the file's value for it is not among `metrics`."""


@dataclass(frozen=True, kw_only=True)
class StatedResults:
    """One results file."""

    path: Path
    identity: ModelIdentity
    backend: str
    """`lm-eval:NAME`, NAME being lm-eval's model type."""
    harness_version: str
    """Empty in the old format."""
    date: str
    tasks: tuple[StatedTask, ...]


def looks_like_results(path: Path) -> bool:
    """Tell whether a regular file has the outline of an lm-eval results file."""
    try:
        content = _parse(path)
    except (OSError, ValueError):
        return False
    return (
        isinstance(content, dict) and isinstance(content.get("results"), dict) and bool({"versions", "config"} & set(content))
    )


def damage(path: Path) -> str:
    """Tell what is wrong with a JSON file that must be an lm-eval results file and cannot be read; empty for all others."""
    try:
        _parse(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        if path.name.startswith("results") or isinstance(error, OSError) or _speaks_of_results(path):
            return f"{path} cannot be read: {' '.join(reason.split())}"
    return ""


def _speaks_of_results(path: Path) -> bool:
    with path.open("rb") as handle:
        return b'"results"' in handle.read(_OUTLINE_BYTES)


_OUTLINE_BYTES = 1 << 16
"""lm-eval writes `results` first."""


def read_results(path: Path) -> StatedResults:
    """Read a results file.

    Raises:
        InputError: missing, no JSON, no `results` object, or a value out of its range.
    """
    content = _load(path)
    config = content.get("config") if isinstance(content.get("config"), dict) else {}
    assert isinstance(config, dict)
    tasks = tuple(_read_task(path, content, config, name) for name in sorted(content["results"]))
    if not any(task.metrics for task in tasks):
        raise InputError(f"{path} states no metric", expected="lm-eval's `results` with at least one number")
    return StatedResults(
        path=path,
        identity=identify(content, path),
        backend=f"lm-eval:{config.get('model') or 'unknown'}",
        harness_version=str(content.get("lm_eval_version") or ""),
        date=str(content.get("date") or ""),
        tasks=tasks,
    )


def _parse(path: Path) -> Any:
    # Windows editors begin a file with a byte order mark.
    return parse_json(path.read_text(encoding="utf-8-sig"), names_once=True)


def _load(path: Path) -> dict[str, Any]:
    check_user_file(path, expected="an lm-eval results file")
    try:
        content = _parse(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", expected="an lm-eval results file") from error
    except ValueError as error:
        raise InputError(
            f"{path} is not JSON: {error}", expected="an lm-eval results file", remedy="it may be cut off"
        ) from error
    if not isinstance(content, dict) or not isinstance(content.get("results"), dict) or not content["results"]:
        raise InputError(f"{path} has no 'results' object", expected="an lm-eval results file (results_*.json)")
    return content


def _read_task(path: Path, content: Mapping[str, Any], config: Mapping[str, Any], name: str) -> StatedTask:
    stated = content["results"][name]
    if not name.strip() or not name.isprintable():
        raise InputError(f"{path}: a task is called {name!r}", expected="a name of printable characters")
    if not isinstance(stated, dict):
        raise InputError(f"{path}: results of {name} are {stated!r}", expected="an object of metrics")
    values, unused = _by_metric(path, name, stated)
    _check_ranges(path, name, values)
    finite = {metric: value for metric, value in values.items() if math.isfinite(value)}
    unused |= {metric: f"it is {value}" for metric, value in values.items() if metric not in finite and _is_metric(metric)}
    sems = {metric.removesuffix("_stderr"): value for metric, value in finite.items() if metric.endswith("_stderr")}
    metrics = {metric: value for metric, value in finite.items() if _is_metric(metric)}
    counts = _entry(content, "n-samples", name)
    counts = counts if isinstance(counts, dict) else {}
    effective, original = whole(counts.get("effective")), whole(counts.get("original"))
    task_config = _entry(content, "configs", name)
    task_config = task_config if isinstance(task_config, dict) else None
    candidates = (_entry(content, "n-shot", name), (task_config or {}).get("num_fewshot"), config.get("num_fewshot"))
    shots = next((whole(value) for value in candidates if value is not None), None)
    version = _entry(content, "versions", name)
    item_limit, limit_fraction = _limit(config.get("limit"), effective, original)
    return StatedTask(
        task=name,
        metrics=metrics,
        sems=sems,
        version="" if version is None else str(version),
        num_fewshot=shots,
        fewshot_seed=whole(config.get("fewshot_seed")) if shots else None,
        n_items=effective or None,
        item_limit=item_limit,
        limit_fraction=limit_fraction,
        config=task_config,
        unused=unused,
    )


def _check_ranges(path: Path, task: str, values: Mapping[str, float]) -> None:
    """Refuse what cannot be in a metric's unit; a metric that laws use has to be a number, too."""
    for metric, value in values.items():
        column = _column(metric)
        if column is None or (metric.endswith("_stderr") and math.isnan(value)):
            continue  # one item has no standard error
        try:
            column.check(value)
        except ValueError as error:
            raise InputError(f"{path}: {metric} of {task} is {value}", expected=str(error)) from None


def _entry(content: Mapping[str, Any], key: str, name: str) -> Any:
    table = content.get(key)
    return table.get(name) if isinstance(table, dict) else None


def _limit(limit: object, effective: int | None, original: int | None) -> tuple[int | None, float | None]:
    """Return the number of items asked for, or their share: of an unknown number of items it is all that can be said."""
    if effective is not None and original is not None:
        return (effective if effective < original else None), None
    number = _number(limit)
    if number is None or not math.isfinite(number) or number <= 0.0:
        return None, None
    return (None, number) if number < 1.0 else (whole(limit), None)


def _number(value: object) -> float | None:
    """Return a number, also one that is written as a string; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


_NO_METRICS = frozenset({"", "alias", "name", "sample_len", "sample_count"})
"""What lm-eval writes among a task's metrics and is none."""


def _is_metric(metric: str) -> bool:
    return metric not in _NO_METRICS and not metric.endswith("_stderr")


def _by_metric(path: Path, task: str, stated: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, str]]:
    """Undo `metric,filter`: of several filters the preferred one counts, or else the first by name.

    Also return, for each metric that has no number or more than one, what is not used of it.
    """
    found: dict[str, dict[str, float]] = {}
    unused = {}
    for key, value in stated.items():
        metric, _, filter_name = key.strip().partition(",")
        if metric in _NO_METRICS:
            continue
        number = _number(value)
        if number is not None:
            found.setdefault(metric, {})[filter_name or "none"] = number
        elif not (value is None or (isinstance(value, str) and is_blank(value))) and _column(metric) is not None:
            raise InputError(f"{path}: {metric} of {task} is {shown(str(value))}", expected="a number, or N/A")
        elif _is_metric(metric):
            unused[metric] = f"it is {shown(str(value))}"
    chosen = {}
    for metric, by_filter in found.items():
        preferred = preferred_filter(sorted(by_filter))
        chosen[metric] = by_filter[preferred]
        others = sorted(name for name, value in by_filter.items() if value != by_filter[preferred])
        if others and _is_metric(metric):
            unused[metric] = f"the value of filter {preferred} is used instead of {', '.join(others)}"
    return chosen, unused


def _column(metric: str) -> NumberColumn | None:
    name = metric.removesuffix("_stderr")
    return METRIC_COLUMNS.get("acc" if name == "exact_match" else name)
