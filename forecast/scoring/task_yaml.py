"""Reads task definitions as lm-eval does (includes, `!function`), without lm-eval and without running anything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from forecast.core.errors import InputError

_MAX_BYTES = 16 << 20
"""lm-eval's largest definition has 60 kB; anything larger is not a definition."""
_MAX_ENTRIES = 1_000_000
"""Keys and values, aliases written out: a few lines of YAML can name the same list over and over, or themselves."""
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, kw_only=True)
class FunctionReference:
    """`!function module.name` in a definition; its module is looked for in the folder of the file that names it."""

    name: str
    file: Path
    """The definition that holds it."""


@dataclass(frozen=True, kw_only=True)
class Definition:
    """A definition with what it includes."""

    config: dict[str, Any]
    files: tuple[Path, ...]
    """Every file it was read from, its own first."""


class _Loader(_Base):
    file: Path


def _function(loader: _Loader, node: yaml.ScalarNode) -> FunctionReference:
    return FunctionReference(name=str(loader.construct_scalar(node)), file=loader.file)


_Loader.add_constructor("!function", _function)


def parse_yaml(text: bytes, file: Path) -> Any:
    """Return the value of one YAML document; `!function` becomes a `FunctionReference`."""
    loader = _Loader(text)
    loader.file = file
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def read_definition(path: Path) -> Definition:
    """Return a definition, what it includes first and its own keys over it.

    Raises:
        InputError: a file is missing, is not YAML, is not a mapping, or includes itself.
    """
    files: list[Path] = []
    return Definition(config=_read(path, files), files=tuple(files))


def _read(path: Path, files: list[Path]) -> dict[str, Any]:
    path = _resolve(path)
    if path in files:
        raise InputError(f"{path} is included twice", expected="includes that reach each file once")
    files.append(path)
    config = _parse_file(path)
    if "include" not in config:
        return config
    included = config.pop("include")
    merged: dict[str, Any] = {}
    for name in included if isinstance(included, list) else [included]:
        if not isinstance(name, str):
            raise InputError(f"{path} includes {name!r}", expected="the name of a file")
        part = _read(path.parent / name, files)
        part.pop("task_list", None)  # It names the tasks of the included file only.
        merged.update(part)
    return {**merged, **config}


def _resolve(path: Path) -> Path:
    try:
        return path.expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}", expected="a YAML file") from error


def _parse_file(path: Path) -> dict[str, Any]:
    try:
        # A pipe or a device would be read for ever.
        if not path.is_file():
            raise InputError(f"{path} does not exist", expected="a YAML file")
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise InputError(f"{path} has {size:,} bytes", expected=f"a definition of at most {_MAX_BYTES:,}")
        config = parse_yaml(path.read_bytes(), path)
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        reason = (
            "it is nested too deeply"
            if isinstance(error, RecursionError)
            else " ".join(str(error).replace(' in "<byte string>"', "").split())[:300]
        )
        raise InputError(f"{path} cannot be read: {reason}", expected="a YAML definition") from error
    if not isinstance(config, dict):
        raise InputError(f"{path} holds {_kind(config)}", expected="a mapping, with a line 'task: NAME' or 'group: NAME'")
    _check_entries(config, path)
    return config


def _check_entries(config: dict[str, Any], path: Path) -> None:
    open_values: list[Any] = [config]
    count = 0
    while open_values:
        value = open_values.pop()
        entries = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ()
        count += len(entries)
        if count > _MAX_ENTRIES:
            raise InputError(
                f"{path} has more than {_MAX_ENTRIES:,} entries once its aliases are written out", expected="a definition"
            )
        open_values.extend(entries)


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"
