"""From names to the definitions of single tasks: groups and tags give way to their members, and nothing runs.

The rules are those of lm_eval/tasks/_factory.py. A member keeps its own name, and what a group sets goes to its members.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forecast.core.errors import InputError, UsageError
from forecast.scoring.task_index import IndexEntry, TaskIndex
from forecast.scoring.task_yaml import read_definition

GROUP_FIELDS = frozenset({"group", "group_alias", "task", "aggregate_metric_list", "metadata"})
"""What describes the group itself (lm_eval/config/group.py, GroupConfig); everything else it passes on."""
_STRUCTURE = frozenset({"tag", "group", "task_list"})
"""Keys that say where a task belongs, not what it is."""


@dataclass(frozen=True, kw_only=True)
class TaskDefinition:
    """One task as it will be built."""

    name: str
    config: Mapping[str, Any]
    """lm-eval's configuration; functions are `FunctionReference`s."""
    files: tuple[Path, ...]
    """Every file that has a say in it: its own, those included, those of the groups that it was reached through."""


@dataclass(frozen=True, kw_only=True)
class _Above:
    """The settings that a member gets from the groups around it."""

    overrides: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    groups: tuple[str, ...] = ()


def expand_tasks(names: Sequence[str], index: TaskIndex) -> list[TaskDefinition]:
    """Return the definitions of all tasks that names refer to, each task once; a name may be the path of a definition.

    Raises:
        UsageError: a task is reached twice with different settings.
        InputError: a definition cannot be read, or a group names what is not there, or itself.
    """
    found: dict[str, TaskDefinition] = {}
    reached: dict[str, str] = {}
    for name in dict.fromkeys(names):
        # Within one group the last mention counts, as in lm-eval.
        for definition in {one.name: one for one in _expand(_entry(name, index), index, _Above())}.values():
            known = found.setdefault(definition.name, definition)
            if known.config != definition.config:
                raise UsageError(
                    f"task '{definition.name}' is asked for twice with different settings: by '{reached[definition.name]}' "
                    f"and by '{name}'",
                    expected="one definition of each task",
                    remedy="evaluate the two one after the other",
                )
            reached.setdefault(definition.name, name)
    return list(found.values())


def _entry(name: str, index: TaskIndex) -> IndexEntry:
    if name in index:
        return index[name]
    config = read_definition(Path(name)).config
    kind = next((key for key in ("class", "group", "task") if key in config), "")
    own = config.get("group" if kind == "group" else "task")
    if not isinstance(own, str):
        raise InputError(f"{name} names no task", expected="a line 'task: NAME' or 'group: NAME'")
    return IndexEntry(name=own, kind=kind, path=name)


def _expand(entry: IndexEntry, index: TaskIndex, above: _Above) -> Iterator[TaskDefinition]:
    if entry.kind == "group":
        yield from _expand_group_entry(entry, index, above)
    elif entry.path is None:
        for member in entry.members:
            if member in index:
                yield from _expand(index[member], index, above)
    else:
        definition = read_definition(Path(entry.path))
        yield _task(entry.name, {**definition.config, **above.overrides}, (*definition.files, *above.files))


def _task(name: str, config: Mapping[str, Any], files: Sequence[Path]) -> TaskDefinition:
    kept = {key: deepcopy(value) for key, value in config.items() if key not in _STRUCTURE}
    metadata = kept.get("metadata") or {}
    kept["metadata"] = metadata if isinstance(metadata, dict) else {"_metadata": metadata}
    return TaskDefinition(name=name, config={**kept, "task": name}, files=tuple(dict.fromkeys(files)))


def _expand_group_entry(entry: IndexEntry, index: TaskIndex, above: _Above) -> Iterator[TaskDefinition]:
    definition = read_definition(Path(entry.path or ""))
    inside = _Above(
        overrides=above.overrides, files=(*definition.files, *above.files), groups=_nested(entry.name, above.groups)
    )
    yield from _expand_group(definition.config, index, inside)


def _nested(name: str, groups: tuple[str, ...]) -> tuple[str, ...]:
    if name in groups:
        raise InputError(
            f"group '{groups[0]}' never ends: {' > '.join((*groups, name))}",
            expected="a group that is not among its own members",
        )
    return (*groups, name)


def _expand_group(config: Mapping[str, Any], index: TaskIndex, above: _Above) -> Iterator[TaskDefinition]:
    passed_on = {key: value for key, value in config.items() if key not in GROUP_FIELDS}
    inside = _Above(overrides={**passed_on, **above.overrides}, files=above.files, groups=above.groups)
    members = config.get("task")
    group = above.groups[-1]
    if not isinstance(members, list) or not members:
        raise InputError(f"group '{group}' has no members", expected="a list of tasks, 'task: [NAME, ...]'")
    for member in members:
        yield from _expand_member(member, group, index, inside)


def _expand_member(member: Any, group: str, index: TaskIndex, above: _Above) -> Iterator[TaskDefinition]:
    if isinstance(member, str):
        if member not in index:
            raise InputError(
                f"group '{group}' names '{member}', which no definition has",
                expected="members that are tasks, groups or tags",
                remedy="correct the name, or add its definition to `include_path=`",
            )
        member = {"task": member}
    if not isinstance(member, dict) or not isinstance(member.get("group", member.get("task")), str):
        raise InputError(
            f"group '{group}' has the member {str(member)[:100]!r}",
            expected="a name, or a mapping with 'task: NAME' or 'group: NAME'",
        )
    if "group" in member:
        name = member["group"]
        if name in index:
            own = {key: value for key, value in member.items() if key != "group"}
            inside = _Above(overrides={**above.overrides, **own}, files=above.files, groups=above.groups)
            yield from _expand(index[name], index, inside)
        else:
            inside = _Above(overrides=above.overrides, files=above.files, groups=_nested(f"{group}::{name}", above.groups))
            yield from _expand_group(member, index, inside)
        return
    name = member["task"]
    settings = {**above.overrides, **{key: value for key, value in member.items() if key != "task"}}
    if name in index:
        yield from _expand(index[name], index, _Above(overrides=settings, files=above.files, groups=above.groups))
    else:
        yield _task(f"{group}::{name}", settings, above.files)
