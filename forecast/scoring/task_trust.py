"""Whose definitions may run code. Those of lm-eval and of this package may; a user's only when the user says so.

A definition can bring Python in many ways: `!function`, a class, a template, a metric or data set with a script, a pickle.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from forecast.core.errors import InputError, UsageError
from forecast.core.resources import data_folder
from forecast.scoring.task_expansion import TaskDefinition
from forecast.scoring.task_index import lm_eval_folder
from forecast.scoring.task_yaml import FunctionReference

_REMEDY = "read the definition and its Python files; if they may run on this machine, pass `trust_task_code=`"
_RUNS_CODE = frozenset({"pandas", "spark", "sql", "generator", "webdataset", "cache"})
"""Readers of `datasets` that load pickles, or ask other programs."""


@cache
def _stock_folders() -> tuple[Path, ...]:
    return (lm_eval_folder() / "tasks", data_folder("tasks").resolve() / "lm_eval")


def is_stock_file(file: Path) -> bool:
    """Whether a file, its links followed, is one of lm-eval's or of this package."""
    return any(file.resolve().is_relative_to(folder) for folder in _stock_folders())


def is_stock(definition: TaskDefinition) -> bool:
    """Whether nobody but lm-eval and this package has a say in a definition: its own file, its includes, its groups."""
    return all(is_stock_file(file) for file in definition.files)


def holds_foreign_function(definition: TaskDefinition) -> bool:
    """Whether a definition names Python that is neither lm-eval's nor this package's."""
    return any(not is_stock_file(reference.file) for reference in _functions(definition.config))


def _functions(value: Any) -> list[FunctionReference]:
    if isinstance(value, FunctionReference):
        return [value]
    entries = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return [found for entry in entries for found in _functions(entry)]


def check_untrusted(definition: TaskDefinition) -> None:
    """Refuse what would run code of a definition's own; what is left is text, numbers, and lm-eval's own functions.

    Raises:
        UsageError: something in it does.
    """
    config = definition.config
    for reference in _functions(config):
        if not is_stock_file(reference.file):
            _refuse(definition, f"runs Python: !function {reference.name} in {reference.file}")
    if "class" in config:
        _refuse(definition, "is a Python class")
    _check_data_source(definition)
    _check_metrics(definition)
    prompt = config.get("use_prompt")
    if prompt is not None and not str(prompt).startswith("qa-basic:"):
        _refuse(definition, f"takes its prompt from elsewhere: use_prompt {prompt!r}")


def _refuse(definition: TaskDefinition, what: str) -> None:
    raise UsageError(
        f"task '{definition.name}' {what}",
        expected=f"a definition of text and templates ({_own_file(definition)} is not one of lm-eval's)",
        remedy=_REMEDY,
    )


def _own_file(definition: TaskDefinition) -> Path:
    return next((file for file in definition.files if not is_stock_file(file)), definition.files[0])


def _check_data_source(definition: TaskDefinition) -> None:
    path = definition.config.get("dataset_path")
    if path is None:
        return
    if not isinstance(path, str):
        raise InputError(f"task '{definition.name}' has the dataset_path {path!r}", expected="a hub id, a reader or a folder")
    folder = Path(path)
    if path.endswith(".py") or (folder / f"{folder.name}.py").exists():
        _refuse(definition, f"loads its data with a Python script: dataset_path {path}")
    if path in _RUNS_CODE:
        _refuse(definition, f"loads its data with the reader '{path}', which can run code")


def without_remote_code(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration whose data set may not bring a script, whatever it asks for itself."""
    settings = config.get("dataset_kwargs")
    if not isinstance(settings, dict) or "trust_remote_code" not in settings:
        return dict(config)
    return {**config, "dataset_kwargs": {**settings, "trust_remote_code": False}}


def _check_metrics(definition: TaskDefinition) -> None:
    """A metric that lm-eval does not have is looked for by the `evaluate` library, which runs what it finds."""
    from lm_eval.api.registry import metric_registry

    metrics = definition.config.get("metric_list") or []
    for metric in metrics if isinstance(metrics, list) else []:
        if isinstance(metric, dict):
            name = metric.get("metric")
            if metric.get("hf_evaluate") or (isinstance(name, str) and name not in metric_registry):
                _refuse(definition, f"has the metric {name!r}, which the evaluate library would load as Python")
