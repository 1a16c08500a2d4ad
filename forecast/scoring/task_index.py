"""Which definition has which name. lm-eval reads its thousands of files again for every command; here a glance suffices.

The rules are those of lm_eval/tasks/_index.py: in one folder the first file with a name wins (files in the order of their
paths), a later folder's names replace those of an earlier one, and a tag names the tasks that carry it.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from forecast.core.errors import ForecastError, InputError
from forecast.core.hashing import content_hash
from forecast.core.user_cache import read_cached, write_cached
from forecast.scoring.task_yaml import parse_yaml, read_definition

_FORMAT = 1
"""Changes when a kept index has to be rebuilt."""
_IGNORED = frozenset({"__pycache__", ".ipynb_checkpoints"})
_CLASS, _GROUP, _TASK, _TAG = "class", "group", "task", "tag"
_KEYS = ("include", _CLASS, _GROUP, _TASK, _TAG)
_TOP = re.compile(rb"^[^\s#\-].*$", re.MULTILINE)
_KEY = re.compile(rb"([A-Za-z_]\w*):(?:[ \t]+(.*?))?[ \t]*\r?$")
_WORD = re.compile(rb"(?:\.\./)*[A-Za-z_][\w.\-/]*")
_NOT_TEXT = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_CLOSED = {b'"': b'"', b"'": b"'", b"[": b"]", b"{": b"}"}


@dataclass(frozen=True, kw_only=True)
class IndexEntry:
    """What a name refers to."""

    name: str
    kind: str
    """`task`, `class` (a task written in Python), `group` or `tag`."""
    path: str | None
    """The definition's file; None for a tag."""
    members: tuple[str, ...] = ()
    """The tasks that carry a tag."""


TaskIndex = Mapping[str, IndexEntry]


def lm_eval_folder() -> Path:
    """Return lm-eval's package folder, without importing it.

    Raises:
        ForecastError: it is not installed.
    """
    spec = find_spec("lm_eval")
    if spec is None or not spec.submodule_search_locations:
        raise ForecastError("lm-eval is not installed", remedy="pip install 'lm-eval[hf]'")
    return Path(spec.submodule_search_locations[0]).resolve()


def stock_index() -> TaskIndex:
    """Return the index of lm-eval's own definitions, kept in the user's cache until one of its files changes."""
    root = str(lm_eval_folder() / "tasks")
    name = f"task_index/{content_hash([root, lm_eval_state()])}.json"
    kept = _decode(read_cached(name), root)
    if kept is not None:
        return kept
    built = build_index(root, Glance())
    entries = {
        entry.name: [entry.kind, None if entry.path is None else entry.path[len(root) + 1 :], list(entry.members)]
        for entry in built.values()
    }
    write_cached(name, {"format": _FORMAT, "entries": entries, "check": content_hash(entries)})
    return built


def _decode(kept: Any, root: str) -> TaskIndex | None:
    try:
        if kept["format"] != _FORMAT or kept["check"] != content_hash(kept["entries"]):
            return None
        return {
            name: IndexEntry(
                name=name, kind=kind, path=None if path is None else f"{root}{os.sep}{path}", members=tuple(members)
            )
            for name, (kind, path, members) in kept["entries"].items()
        }
    except (TypeError, KeyError, ValueError, AttributeError):
        return None


def lm_eval_state() -> str:
    """Return a hash of the version, and of path, size and time of every file of the installed lm-eval (0.1 s)."""
    root = str(lm_eval_folder())
    found: list[tuple[str, int, int]] = []
    for entry in _walk(root):
        with suppress(OSError):  # A link to nowhere, or a file that has just gone.
            status = entry.stat()
            found.append((entry.path[len(root) :], status.st_size, status.st_mtime_ns))
    return hashlib.sha256(repr([_FORMAT, version("lm_eval"), sorted(found)]).encode("utf-8", "surrogatepass")).hexdigest()


def _walk(root: str) -> Iterator[os.DirEntry[str]]:
    folders = [root]
    while folders:
        try:
            with os.scandir(folders.pop()) as found:
                entries = list(found)
        except OSError:
            continue  # lm-eval passes over what it may not look into, too.
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                yield entry
            elif entry.name not in _IGNORED:
                folders.append(entry.path)


def own_index(folder: Path) -> tuple[TaskIndex, list[str]]:
    """Return the index of a user's folder, and what in it cannot be read, one line each."""
    broken: list[str] = []

    def read(path: str) -> dict[str, Any] | None:
        try:
            return read_definition(Path(path)).config
        except InputError as error:
            broken.append(error.found)
            return None

    return build_index(str(folder), read), broken


def build_index(root: str, read: Callable[[str], dict[str, Any] | None]) -> TaskIndex:
    """Return the index of the `*.yaml` files below a folder; `read` gives the keys of one, or None to pass it over."""
    files = [entry.path for entry in _walk(root) if entry.name.endswith(".yaml")]
    entries: dict[str, IndexEntry] = {}
    members: dict[str, set[str]] = {}
    for path in sorted(files):
        config = read(path)
        kind = None if config is None else next((key for key in (_CLASS, _GROUP, _TASK) if key in config), None)
        if config is None or kind is None:
            continue
        name = config.get(_GROUP if kind == _GROUP else _TASK)
        if not isinstance(name, str) or name in entries or name in members:
            continue
        tags = _tags(config.get(_TAG))
        if tags is None:
            continue
        entries[name] = IndexEntry(name=name, kind=kind, path=path)
        if kind != _GROUP:
            for tag in tags:
                members.setdefault(tag, set()).add(name)
    tagged = {
        tag: IndexEntry(name=tag, kind=_TAG, path=None, members=tuple(sorted(names)))
        for tag, names in members.items()
        if tag not in entries
    }
    return {**entries, **tagged}


def _tags(value: Any) -> list[str] | None:
    if value is None:
        return []
    tags = [value] if isinstance(value, str) else value
    return tags if isinstance(tags, list) and all(isinstance(tag, str) for tag in tags) else None


class Glance:
    """Reads the keys of lm-eval's definitions that say where each belongs; the rest is not parsed, an include only once."""

    def __init__(self) -> None:
        """Nothing is read yet."""
        self._read: dict[str, dict[str, Any] | None] = {}

    def __call__(self, path: str) -> dict[str, Any] | None:
        """Return a file's keys; None for what lm-eval passes over, too."""
        try:
            return self._keys_of(path)
        except (OSError, InputError, yaml.YAMLError, ValueError, TypeError, KeyError, RecursionError):
            return None

    def _keys_of(self, path: str) -> dict[str, Any]:
        real = os.path.realpath(path) if os.path.islink(path) else path  # noqa: PTH114
        if real in self._read:
            known = self._read[real]
            if known is None:
                raise InputError(f"{real} includes itself, or cannot be read")
            return known
        self._read[real] = None
        config = _top_keys(real)
        if "include" in config:
            included = config.pop("include")
            merged: dict[str, Any] = {}
            for name in included if isinstance(included, list) else [included]:
                merged.update(self._keys_of(os.path.normpath(os.path.join(os.path.dirname(real), name))))  # noqa: PTH118, PTH120
            config = {**merged, **config}
        self._read[real] = config
        return config


def _top_keys(path: str) -> dict[str, Any]:
    """The top-level keys in `_KEYS`, from their own lines where the file is written plainly, else by parsing all of it."""
    text = Path(path).read_bytes()
    found: dict[str, Any] = {}
    lines = list(_TOP.finditer(text))
    for line, following in zip(lines, [*lines[1:], None], strict=True):
        match = _KEY.fullmatch(line.group())
        value = (match.group(2) or b"") if match else b""
        if match is None or (value[:1] in _CLOSED and not value.endswith(_CLOSED[value[:1]])) or value[:1] in (b"&", b"*"):
            config = parse_yaml(text, Path(path))
            return {key: config[key] for key in _KEYS if key in config}
        key = match.group(1).decode()
        if key not in _KEYS:
            continue
        end = len(text) if following is None else following.start()
        rest = text[line.end() : end].strip()
        if _WORD.fullmatch(value) and not rest and value.decode().lower() not in _NOT_TEXT:
            found[key] = value.decode()
        else:
            found[key] = parse_yaml(text[line.start() : end], Path(path))[key]
    return found
