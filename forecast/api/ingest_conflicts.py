"""Imported lm-eval results against each other and what is stored: one checkpoint cannot have answered one task in two ways.

A results file is known by its resolved path. Imported again with other numbers it replaces what it said before; the same
numbers from another path are recognised; other numbers from another path are refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forecast.core.errors import InputError
from forecast.core.observation_rows import ObservationRow
from forecast.importers.lmeval_evaluations import SOURCE, ImportedRun

if TYPE_CHECKING:
    from forecast.store import Store

_REMEDY = "if it is another checkpoint, say which with `model=` and `step=`; nothing was imported"
_PROVENANCE = ("file", "path", "lm_eval_version", "date")
"""Metadata that says where a row came from, and nothing of what was measured."""

_Place = tuple[object, ...]
"""Checkpoint, task and definition of a row."""


@dataclass(kw_only=True)
class Settled:
    """What is to be done with aggregates, and how many rows that concerns."""

    rows: list[ObservationRow] = field(default_factory=list)
    """Rows to store."""
    withdrawn: list[str] = field(default_factory=list)
    """Stored observations that no longer count."""
    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    removed: int = 0


@dataclass(frozen=True, kw_only=True)
class _Stated:
    """A row that is stored, or was met before in this import."""

    observation_id: str
    place: _Place
    said: object
    extra: Mapping[str, object]
    file: str
    path: str
    """Empty for rows of an earlier version of this program, which kept the file's name alone."""


def refuse_other_answers(store: Store, runs: Sequence[tuple[Path, ImportedRun]]) -> None:
    """Refuse answers, item by item, of a checkpoint that has answered the same task otherwise.

    Raises:
        InputError: names both files.
    """
    seen: dict[tuple[str, str, str, str], tuple[str, Path]] = {}
    if runs and store.path.is_file():
        from forecast.store.named_queries import IMPORTED_RUNS

        for row in store.rows(IMPORTED_RUNS):
            key = (row["checkpoint_id"], row["task_id"], row["dtype"], row["backend"])
            seen[key] = (row["run_id"], store.path)
    for path, entry in runs:
        run = entry.run
        key = (run.checkpoint_id, run.task_id, run.dtype, run.backend)
        other = seen.setdefault(key, (run.run_id, path))
        if other[0] != run.run_id:
            raise InputError(
                f"{path}: {entry.checkpoint.model} has other results on {entry.task.task} than {other[1]}",
                expected="one result per checkpoint and task",
                remedy=_REMEDY,
            )


def settle_aggregates(store: Store, files: Sequence[tuple[Path, Sequence[ObservationRow]]]) -> Settled:
    """Decide what each file's aggregates add to what is stored.

    Raises:
        InputError: a file contradicts another one.
    """
    from forecast.core.observation_tables import observation_content, observation_hash

    settled = Settled()
    if not files:
        return settled
    stored = _stored(store)
    everywhere = {entry.place: entry for entry in stored}
    of_file: dict[str, dict[_Place, _Stated]] = {}
    for entry in stored:
        of_file.setdefault(entry.path or entry.file, {})[entry.place] = entry
    for path, rows in files:
        resolved = str(path.resolve())
        own, by_name = of_file.pop(resolved, {}), of_file.get(path.name, {})
        for row in rows:
            content = observation_content(row)
            new = _stated(content, observation_hash(content))
            before = own.pop(new.place, None) or by_name.get(new.place)
            other = before or everywhere.get(new.place)
            if other is None:
                settled.added += 1
                settled.rows.append(row)
            elif other.said == new.said and (before is None or other.extra == new.extra):
                settled.unchanged += 1
                continue
            elif before is not None:
                settled.replaced += 1
                settled.withdrawn.append(before.observation_id)
                settled.rows.append(row)
            else:
                raise InputError(
                    f"{path}: {row.model} has other results on {row.task} than {other.path or other.file}",
                    expected="one result per checkpoint, task and definition",
                    remedy=_REMEDY,
                )
            everywhere[new.place] = new
        settled.removed += len(own)
        settled.withdrawn += [entry.observation_id for entry in own.values()]
    return settled


def _stored(store: Store) -> list[_Stated]:
    if not store.path.is_file():
        return []
    from forecast.store.named_queries import IMPORTS_OF_SOURCE

    return [_stated(row, row["observation_id"]) for row in store.rows(IMPORTS_OF_SOURCE, source=SOURCE)]


_PLACE = ("family", "model", "revision", "step", "task", "num_fewshot", "definition")


def _stated(content: Mapping[str, Any], observation_id: str) -> _Stated:
    metadata = json.loads(content["metadata"])
    ignored = (*_PLACE, "metadata", "source", "observation_id", "batch")
    said = {name: value for name, value in content.items() if value is not None and name not in ignored}
    return _Stated(
        observation_id=observation_id,
        place=tuple(content[name] for name in _PLACE),
        said=said,
        extra={name: value for name, value in metadata.items() if name not in _PROVENANCE},
        file=str(metadata.get("file", "")),
        path=str(metadata.get("path", "")),
    )
