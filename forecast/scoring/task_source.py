"""Where lm-eval's task objects come from: its own registry, a user's YAML folder, and a local mirror of hub data sets."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Container, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import datasets
import lm_eval.tasks
import pyarrow.json
import yaml
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import TaskManager
from lm_eval.tasks._factory import TaskFactory
from lm_eval.tasks._index import TaskIndex
from lm_eval.tasks._yaml_loader import load_yaml

from forecast.core.errors import ForecastError, InputError, UsageError
from forecast.scoring.task_names import scan_definitions

LOCAL_BUILDERS = frozenset({"json", "csv", "parquet", "text", "arrow"})
"""`dataset_path` values that name a file reader of `datasets`, not a hub data set."""

_STRUCTURE = frozenset({"tag", "group", "task_list"})
"""Keys of a definition that say where a task belongs, not what it is (lm-eval's factory drops the same)."""
_SPLIT_FIELDS = ("training_split", "validation_split", "test_split", "fewshot_split")


class ProbedTask(ConfigurableTask):  # type: ignore[misc, unused-ignore]
    """lm-eval's task where its constructor stumbles over the first item: rendering names such an item, or leaves it out."""

    _is_constructed = False

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config=config)
        self._is_constructed = True

    def doc_to_choice(self, doc: Any, doc_to_choice: Any = None) -> Any:
        """Return the item's choices; the constructor reads the first letter of each."""
        choices = super().doc_to_choice(doc, doc_to_choice)
        if self._is_constructed or not isinstance(choices, list):
            return choices
        return [" " if choice == "" else choice for choice in choices]

    def doc_to_target(self, doc: Any, doc_to_target: Any = None) -> Any:
        """Return the item's answer; the constructor looks its choice up."""
        target = super().doc_to_target(doc, doc_to_target)
        return 0 if isinstance(target, int) and not self._is_constructed else target


class ItemTolerantFactory(TaskFactory):  # type: ignore[misc, unused-ignore]
    """Builds lm-eval's tasks unchanged, but for those whose first item makes lm-eval's own constructor fail."""

    def _build_task(self, entry: Any, overrides: dict[str, Any] | None) -> Any:
        try:
            return super()._build_task(entry, overrides)
        except IndexError:
            config = self._load_full_config(entry, overrides)
            if "class" in config:
                raise
            return ProbedTask({key: value for key, value in config.items() if key not in _STRUCTURE})


class MirrorTaskFactory(ItemTolerantFactory):
    """Builds lm-eval's tasks unchanged but for their data source: `<mirror>/<hub id>/<config or default>/<split>.jsonl.gz`.

    A data set without configurations may also lie at `<mirror>/<hub id>/<split>.jsonl.gz`.
    """

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
        # A data set without configurations may lie in its own folder.
        splits = _find_splits(folder) or ({} if config.get("dataset_name") else _find_splits(self._mirror / path))
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


def find_tasks(
    names: Sequence[str],
    *,
    include_path: Path | None,
    data_dir: Path | None,
    on_notice: Callable[[str], None],
) -> TaskManager:
    """Look all names up in lm-eval's index, without loading any data.

    Raises:
        UsageError: a name is unknown (the nearest ones are shown).
        InputError: a folder is missing, or a definition cannot be read.
    """
    for folder, option in ((include_path, "--include-path"), (data_dir, "--data-dir")):
        if folder is not None and not folder.is_dir():
            raise InputError(f"{option} {folder} is no folder", expected="an existing folder")
    _quiet_third_parties()
    manager = _index_tasks(names, include_path, on_notice)
    manager._factory = ItemTolerantFactory() if data_dir is None else MirrorTaskFactory(data_dir, on_notice)
    return manager


def load_tasks(manager: TaskManager, names: Sequence[str]) -> dict[str, Any]:
    """Return the task objects by name, with their data; groups and tags are expanded to their members.

    Raises:
        InputError: a task's data cannot be read.
    """
    tasks: dict[str, Any] = {}
    for name in dict.fromkeys(names):
        tasks.update(_load_one(manager, name))
    return tasks


def _index_tasks(names: Sequence[str], include_path: Path | None, on_notice: Callable[[str], None]) -> Any:
    """Index the user's folder, and lm-eval's thousands of definitions (seconds) only where a name may be among them."""
    own = None if include_path is None else TaskManager(include_path=include_path, include_defaults=False)
    if own is not None and all(name in own.task_index for name in names):
        return own
    # lm-eval passes over what it cannot read: a task missing because of that must not be called unknown.
    broken = [] if include_path is None else _unreadable_definitions(include_path)
    wanted = [name for name in names if not (own is not None and name in own.task_index) and not Path(name).is_file()]
    possible, plain = scan_definitions(wanted, Path(lm_eval.tasks.__file__).parent)
    _refuse_unknown(wanted, possible, [*plain, *(own.all_tasks if own is not None else ())], broken)
    manager = TaskManager(include_path=include_path)
    _refuse_unknown(wanted, manager.task_index, manager.all_tasks, broken)
    for text in broken:
        on_notice(f"left out of --include-path: {text}")
    return manager


def _refuse_unknown(names: Sequence[str], known: Container[str], suggested: Sequence[str], broken: Sequence[str]) -> None:
    for name in names:
        if name in known:
            continue
        if broken:
            raise InputError(
                f"task '{name}' is in no readable file of --include-path: {'; '.join(broken[:3])}",
                expected="YAML task definitions",
                remedy="repair the file, or move it away if the task is not meant to be there",
            )
        near = difflib.get_close_matches(name, suggested, n=5, cutoff=0.5)
        raise UsageError(
            f"unknown task '{name}'",
            expected="a task, group or tag of lm-eval or of --include-path",
            remedy=f"nearest: {', '.join(near)}" if near else "see `forecast tasks`",
        )


def _unreadable_definitions(folder: Path) -> list[str]:
    found = []
    for path in TaskIndex._iter_yaml_files(folder):
        try:
            load_yaml(path, resolve_func=False)
        except (yaml.YAMLError, ValueError, OSError, TypeError) as error:
            found.append(f"{path}: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
    return found


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
