"""How tasks were written out before: enough to see that everything is stored, without lm-eval and without their data.

A task is recognised by all that its prompts come from: definition, settings, the content of its data files, lm-eval's files,
this package's, and the versions of what reads and renders. What cannot be told that way (a data set of the hub, a function or
class of the user's own) is not remembered.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar, overload

from forecast.core.errors import InputError
from forecast.core.hashing import content_hash, file_hash
from forecast.core.records import TaskRecord
from forecast.core.user_cache import read_cached, write_cached
from forecast.scoring.data_mirror import LOCAL_READERS, find_splits, is_mirrored
from forecast.scoring.requests import AnswerJudge, JudgedAnswer, RenderedTask
from forecast.scoring.task_expansion import TaskDefinition
from forecast.scoring.task_index import lm_eval_state
from forecast.scoring.task_trust import holds_foreign_function
from forecast.scoring.task_yaml import FunctionReference

_FILE = "tasks.json"
_MOST_TASKS = 4096
"""The oldest are forgotten; one takes 400 bytes."""
_MOST_BYTES = 256 << 20
"""More data than this takes longer to hash than to render."""
_LIBRARIES = ("lm_eval", "datasets", "jinja2", "numpy", "pyarrow", "PyYAML")

Entry = TypeVar("Entry")


class LateSequence(Sequence[Entry]):
    """Entries whose number is known before they are."""

    def __init__(self, length: int, make: Callable[[], Sequence[Entry]]) -> None:
        """Make nothing yet."""
        self._length = length
        self._make = make

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Entry]: ...
    def __getitem__(self, index: int | slice) -> Entry | Sequence[Entry]:
        return self._make()[index]

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._make())


@dataclass(frozen=True, kw_only=True)
class TaskOutline:
    """The remembered facts of a task."""

    record: dict[str, Any]
    """The fields of its record but for the items."""
    n_items: int
    n_requests: int
    n_generations: int
    notices: tuple[str, ...]
    """The notices given when it was rendered."""

    def late_task(self, render: Callable[[], RenderedTask]) -> RenderedTask:
        """Return the task; it is rendered when an item or a request is looked at.

        Raises (then):
            InputError: it is rendered differently now.
        """

        def checked() -> RenderedTask:
            task = render()
            if task.record.task_id != self.record["task_id"]:
                raise InputError(
                    f"task '{task.record.task}' is rendered differently from last time",
                    expected="the same prompts from the same files and settings (a definition may draw at random)",
                    remedy="run the same command again: the remembered task has been discarded",
                )
            return task

        return RenderedTask(
            record=TaskRecord(**self.record, items=LateSequence(self.n_items, lambda: checked().record.items)),
            requests=LateSequence(self.n_requests, lambda: checked().requests),
            generations=LateSequence(self.n_generations, lambda: checked().generations),
            judge=_LateJudge(checked) if self.n_generations else None,
        )


class _LateJudge:
    """The judge of a task that is rendered when the first answer is judged."""

    def __init__(self, render: Callable[[], RenderedTask]) -> None:
        self._render = render

    def _own(self) -> AnswerJudge:
        judge = self._render().judge
        assert judge is not None
        return judge

    def probe(self, item_idx: int, text: str) -> None:
        """Judge one text before anything is computed."""
        self._own().probe(item_idx, text)

    def judge(self, item_idx: int, texts: Sequence[str]) -> Sequence[JudgedAnswer]:
        """Judge all answers to one item."""
        return self._own().judge(item_idx, texts)


class TaskMemory:
    """The user's memory of tasks, as it was when opened."""

    def __init__(self) -> None:
        """Read it; one that cannot be read is empty."""
        kept = read_cached(_FILE)
        self._outlines: dict[str, Any] = kept if isinstance(kept, dict) else {}

    def recall(self, key: str | None) -> TaskOutline | None:
        """Return what is known under a key."""
        kept: Any = self._outlines.get(key) if key is not None else None
        try:
            if kept["check"] != content_hash(kept["outline"]) or set(kept["outline"]["record"]) != _RECORD_FIELDS:
                return None
            return TaskOutline(**{**kept["outline"], "notices": tuple(kept["outline"]["notices"])})
        except (TypeError, KeyError, ValueError):
            return None

    def keep(self, tasks: Mapping[str, tuple[RenderedTask, Sequence[str]]]) -> None:
        """Remember some tasks by their keys, each with its notices."""
        read = read_cached(_FILE)
        kept = read if isinstance(read, dict) else {}
        for key, (task, notices) in tasks.items():
            record = asdict(replace(task.record, items=()))
            del record["items"]
            outline = {
                "record": record,
                "n_items": len(task.record.items),
                "n_requests": len(task.requests),
                "n_generations": len(task.generations),
                "notices": list(notices),
            }
            before = kept.pop(key, None)
            is_other = isinstance(before, dict) and before.get("task_id", record["task_id"]) != record["task_id"]
            kept[key] = (
                {"task_id": ""}  # It comes out differently from one time to the next: never remember it again.
                if is_other
                else {"task_id": record["task_id"], "outline": outline, "check": content_hash(outline)}
            )
        write_cached(_FILE, dict(list(kept.items())[-_MOST_TASKS:]))


_RECORD_FIELDS = {field.name for field in fields(TaskRecord)} - {"items"}


def task_keys(definitions: Sequence[TaskDefinition], settings: Mapping[str, Any], data_dir: Path | None) -> list[str | None]:
    """Return a hash of all that each task's prompts come from; None where that cannot be told.

    Args:
        definitions: the tasks.
        settings: what besides decides how they are written out.
        data_dir: mirror of hub data sets.
    """
    files = [_data_files(definition, data_dir) for definition in definitions]
    if all(found is None for found in files):
        return [None] * len(definitions)
    surroundings = [
        _plain(settings),
        lm_eval_state(),
        _package_state(),
        sys.version,
        [f"{name} {version(name)}" for name in _LIBRARIES],
    ]
    return [
        None if found is None else content_hash([surroundings, _plain(definition.config), _hashes(found)])
        for definition, found in zip(definitions, files, strict=True)
    ]


def _data_files(definition: TaskDefinition, data_dir: Path | None) -> dict[str, Path] | None:
    """The files that hold a task's items, by what each is for; None where items come from elsewhere."""
    config = definition.config
    if "class" in config or config.get("custom_dataset") or holds_foreign_function(definition):
        return None
    if data_dir is not None and is_mirrored(config):
        files = find_splits(config, data_dir)
    elif config.get("dataset_path") in LOCAL_READERS:
        files = _named_files(config.get("dataset_kwargs"))
    else:
        return None
    if not files or not all(path.is_file() for path in files.values()):
        return None
    return files if sum(path.stat().st_size for path in files.values()) <= _MOST_BYTES else None


def _named_files(settings: Any) -> dict[str, Path]:
    named = settings.get("data_files") if isinstance(settings, Mapping) else None
    if named is None or "data_dir" in settings:
        return {}
    splits = named if isinstance(named, Mapping) else {"train": named}
    return {
        f"{split}/{position}": Path(str(file))
        for split, files in splits.items()
        for position, file in enumerate(files if isinstance(files, list) else [files])
    }


def _hashes(files: Mapping[str, Path]) -> dict[str, str]:
    return {name: file_hash(path) for name, path in files.items()}


def _package_state() -> list[list[object]]:
    """This package's own files: another version of them may write a task out in another way."""
    root = Path(__file__).parents[1]
    return [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in sorted(root.rglob("*.py"))]


def _plain(value: Any) -> Any:
    if isinstance(value, FunctionReference):
        return ["!function", value.name, str(value.file)]
    if isinstance(value, Mapping):
        return [[_plain(key), _plain(entry)] for key, entry in value.items()]
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return repr(value)
