"""lm-eval's results files: today's (0.4.x, `acc,none`) and the old format without filters that Pythia's evaluations use."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forecast.core.errors import InputError
from forecast.importers.lmeval_identity import ModelIdentity, identify

_PREFERRED_FILTERS = ("none", "flexible-extract", "strict-match")


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
    config: Mapping[str, Any] | None
    """The task's YAML; None in the old format and for groups."""


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
    """Tell whether a JSON file has the outline of an lm-eval results file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and isinstance(content.get("results"), dict) and "versions" in content


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


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", expected="an lm-eval results file") from error
    except ValueError as error:
        raise InputError(
            f"{path} is no JSON: {error}", expected="an lm-eval results file", remedy="it may be cut off"
        ) from error
    if not isinstance(content, dict) or not isinstance(content.get("results"), dict) or not content["results"]:
        raise InputError(f"{path} has no 'results' object", expected="an lm-eval results file (results_*.json)")
    return content


def _read_task(path: Path, content: Mapping[str, Any], config: Mapping[str, Any], name: str) -> StatedTask:
    stated = content["results"][name]
    if not isinstance(stated, dict):
        raise InputError(f"{path}: results of {name} are {stated!r}", expected="an object of metrics")
    values = _by_metric(stated)
    sems = {metric.removesuffix("_stderr"): value for metric, value in values.items() if metric.endswith("_stderr")}
    metrics = {metric: value for metric, value in values.items() if not metric.endswith("_stderr") and metric != "sample_len"}
    for metric in ("acc", "acc_norm", "acc_bytes", "exact_match"):
        if metric in metrics and not 0.0 <= metrics[metric] <= 1.0:
            raise InputError(
                f"{path}: {metric} of {name} is {metrics[metric]}", expected="a fraction in [0, 1], not a percentage"
            )
    counts = _entry(content, "n-samples", name)
    counts = counts if isinstance(counts, dict) else {}
    effective, original = counts.get("effective"), counts.get("original")
    task_config = _entry(content, "configs", name)
    shots = _entry(content, "n-shot", name)
    if shots is None and isinstance(task_config, dict):
        shots = task_config.get("num_fewshot")
    if shots is None:
        shots = config.get("num_fewshot")
    seed = config.get("fewshot_seed")
    limit = config.get("limit")
    return StatedTask(
        task=name,
        metrics=metrics,
        sems=sems,
        version=str(_entry(content, "versions", name) if _entry(content, "versions", name) is not None else ""),
        num_fewshot=shots if isinstance(shots, int) else None,
        fewshot_seed=seed if isinstance(seed, int) and shots else None,
        n_items=effective if isinstance(effective, int) else None,
        item_limit=_limit(limit, effective, original),
        config=task_config if isinstance(task_config, dict) else None,
    )


def _entry(content: Mapping[str, Any], key: str, name: str) -> Any:
    table = content.get(key)
    return table.get(name) if isinstance(table, dict) else None


def _limit(limit: object, effective: object, original: object) -> int | None:
    if isinstance(effective, int) and isinstance(original, int):
        return effective if effective < original else None
    # A fraction of an unknown number of items is a limit all the same; its size cannot be told.
    return int(limit) if isinstance(limit, int | float) and limit >= 1 else None


def _by_metric(stated: Mapping[str, Any]) -> dict[str, float]:
    """Undo `metric,filter`: of several filters the first of `_PREFERRED_FILTERS`, else the first by name, counts."""
    found: dict[str, dict[str, float]] = {}
    for key, value in stated.items():
        metric, _, filter_name = key.partition(",")
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if number:
            found.setdefault(metric, {})[filter_name or "none"] = float(value)
    chosen = {}
    for metric, by_filter in found.items():
        preferred = next((name for name in _PREFERRED_FILTERS if name in by_filter), min(by_filter))
        chosen[metric] = by_filter[preferred]
    return chosen
