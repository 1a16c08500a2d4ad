"""Where lm-eval's task objects come from: its own registry, a user's YAML folder, and a local mirror of hub data sets."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import datasets
import pyarrow.json
from lm_eval.tasks import TaskManager
from lm_eval.tasks._factory import TaskFactory

from forecast.core.errors import ForecastError, InputError, UsageError

LOCAL_BUILDERS = frozenset({"json", "csv", "parquet", "text", "arrow"})
"""`dataset_path` values that name a file reader of `datasets`, not a hub data set."""

_SPLIT_FIELDS = ("training_split", "validation_split", "test_split", "fewshot_split")


class MirrorTaskFactory(TaskFactory):  # type: ignore[misc, unused-ignore]
    """Builds lm-eval's tasks unchanged but for their data source: `<mirror>/<hub id>/<config or default>/<split>.jsonl.gz`."""

    def __init__(self, mirror: Path, on_notice: Callable[[str], None], meta: dict[str, Any] | None = None) -> None:
        super().__init__(meta=meta)
        self._mirror = mirror
        self._on_notice = on_notice

    def _load_full_config(self, entry: Any, overrides: dict[str, Any] | None = None) -> dict[str, Any]:
        config: dict[str, Any] = super()._load_full_config(entry, overrides)
        path = config.get("dataset_path")
        if "class" in config or not isinstance(path, str) or path in LOCAL_BUILDERS or config.get("custom_dataset"):
            return config
        if isinstance(config.get("task"), list):  # a group: its members come by themselves
            return config
        folder = self._mirror / path / (config.get("dataset_name") or "default")
        splits = _find_splits(folder)
        if not splits:
            raise InputError(
                f"task '{config.get('task')}' needs the data set {path}, and {folder} holds no split",
                expected="<split>.jsonl.gz (or .jsonl) files there",
                remedy="add them to the mirror, or leave --data-dir away to use the hub",
            )
        return {**config, **self._without_missing_splits(config, splits), "custom_dataset": _reader_of(splits)}

    def _without_missing_splits(self, config: dict[str, Any], splits: dict[str, Path]) -> dict[str, Any]:
        """Unset the splits that the mirror lacks; the test split may give way to validation, and then says so."""
        changes: dict[str, Any] = {}
        for name in _SPLIT_FIELDS:
            split = config.get(name)
            if isinstance(split, str) and split.split("[")[0] not in splits:
                changes[name] = None
        kept = {name: changes.get(name, config.get(name)) for name in _SPLIT_FIELDS}
        if not kept["test_split"] and not kept["validation_split"]:
            raise InputError(
                f"task '{config.get('task')}' is evaluated on {config.get('test_split') or config.get('validation_split')!r}, "
                f"and the mirror has only {', '.join(sorted(splits))}",
                expected="the evaluated split as a file",
            )
        if "test_split" in changes:
            self._on_notice(
                f"{config.get('task')}: the mirror has no '{config['test_split']}' split; "
                f"items come from '{config['validation_split']}'"
            )
        return changes


def _find_splits(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for suffix in (".jsonl.gz", ".jsonl"):
        for path in sorted(folder.glob(f"*{suffix}")):
            found.setdefault(path.name.removesuffix(suffix), path)
    return found


def _reader_of(splits: dict[str, Path]) -> Callable[..., Any]:
    def read_mirror(**_: object) -> Any:
        return datasets.DatasetDict({split: _read_split(path) for split, path in splits.items()})

    return read_mirror


def _read_split(path: Path) -> Any:
    try:
        # One block holds the file, or a column's type could change between blocks.
        size = max(64 * path.stat().st_size, 1 << 24)
        table = pyarrow.json.read_json(path, read_options=pyarrow.json.ReadOptions(block_size=min(size, 2**31 - 1)))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}", expected="one JSON object per line, gzip-compressed") from error
    return datasets.Dataset(table)


def load_tasks(
    names: Sequence[str],
    *,
    include_path: Path | None,
    data_dir: Path | None,
    on_notice: Callable[[str], None],
) -> dict[str, Any]:
    """Return lm-eval's task objects by name; groups and tags are expanded to their members.

    Raises:
        UsageError: a name is unknown (the nearest ones are shown).
        InputError: a folder is missing, or a task's data cannot be read.
    """
    for folder, option in ((include_path, "--include-path"), (data_dir, "--data-dir")):
        if folder is not None and not folder.is_dir():
            raise InputError(f"{option} {folder} is no folder", expected="an existing folder")
    _quiet_third_parties()
    manager = _index_tasks(names, include_path)
    if data_dir is not None:
        manager._factory = MirrorTaskFactory(data_dir, on_notice)
    tasks: dict[str, Any] = {}
    for name in dict.fromkeys(names):
        if name not in manager.task_index and not Path(name).is_file():
            near = difflib.get_close_matches(name, manager.all_tasks, n=5, cutoff=0.5)
            raise UsageError(
                f"unknown task '{name}'",
                expected="a task, group or tag of lm-eval or of --include-path",
                remedy=f"nearest: {', '.join(near)}" if near else "see `forecast tasks`",
            )
        tasks.update(_load_one(manager, name))
    return tasks


def _index_tasks(names: Sequence[str], include_path: Path | None) -> Any:
    """Index the user's folder, and lm-eval's thousands of definitions (seconds) only where a name is not in it."""
    if include_path is not None:
        own = TaskManager(include_path=include_path, include_defaults=False)
        if all(name in own.task_index for name in names):
            return own
    return TaskManager(include_path=include_path)


def _load_one(manager: Any, name: str) -> dict[str, Any]:
    try:
        loaded: dict[str, Any] = manager.load([name])["tasks"]
    except ForecastError:
        raise
    except ConnectionError as error:
        raise InputError(
            f"task '{name}': its data set cannot be downloaded ({_first_line(error)})",
            expected="a reachable hub or a cached data set",
            remedy="give --data-dir with a local mirror",
        ) from error
    except Exception as error:
        raise InputError(
            f"task '{name}' cannot be loaded: {type(error).__name__}: {_first_line(error)}",
            expected="a loadable lm-eval task and its data",
            remedy="check the task's YAML and data, or give --data-dir",
        ) from error
    return loaded


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:300]


def _quiet_third_parties() -> None:
    for name in ("lm_eval", "lm-eval", "datasets", "httpx"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with suppress(AttributeError):
        datasets.disable_progress_bars()
