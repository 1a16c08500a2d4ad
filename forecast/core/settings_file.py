"""The user's own defaults: `forecast.toml`, or `[tool.forecast]` in `pyproject.toml`, of the working folder or one above it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forecast.core.errors import InputError
from forecast.core.user_files import read_user_text

VARIABLE = "FORECAST_CONFIG"
"""Names the file instead of looking for one; `none` means none."""
_LARGEST = 1 << 20
_EXPECTED = "TOML: an option's name and value, for one command under [COMMAND]"


@dataclass(frozen=True, kw_only=True)
class SettingsFile:
    """What the file says, names as they stand there."""

    path: Path | None = None
    """None: no file."""
    common: Mapping[str, Any] = field(default_factory=dict)
    """Options of every command that has them."""
    commands: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Command -> its options; commands of a group are `group.command`."""


def find_settings(folder: Path) -> SettingsFile:
    """Read the settings that hold in a folder: the nearest file that has any, upwards.

    Raises:
        InputError: the file is missing or malformed.
    """
    named = os.environ.get(VARIABLE, "").strip()
    if named.lower() == "none":
        return SettingsFile()
    if named:
        return _read(Path(named).expanduser())
    for place in (folder, *folder.parents):
        own, shared = place / "forecast.toml", place / "pyproject.toml"
        if own.is_file():
            return _read(own)
        if shared.is_file() and b"tool.forecast" in shared.read_bytes()[:_LARGEST]:
            found = _read(shared)
            if found.path is not None:
                return found
    return SettingsFile()


def _read(path: Path) -> SettingsFile:
    # Most commands run without a file and need no parser.
    import tomllib

    text = read_user_text(path, expected="a settings file (TOML)", limit=_LARGEST)
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"{path}: {error}", expected=_EXPECTED) from error
    if path.name == "pyproject.toml":
        tools = content.get("tool")
        if not isinstance(tools, dict) or "forecast" not in tools:
            return SettingsFile()
        content = tools["forecast"]
        if not isinstance(content, dict):
            raise InputError(f"{path}: tool.forecast is not a table", expected=_EXPECTED)
    common, commands = {}, {}
    for name, value in content.items():
        if isinstance(value, dict):
            nested = {key: entry for key, entry in value.items() if isinstance(entry, dict)}
            commands[name] = {key: entry for key, entry in value.items() if key not in nested}
            commands |= {f"{name}.{key}": entry for key, entry in nested.items()}
        else:
            common[name] = value
    return SettingsFile(path=path.resolve(), common=common, commands=commands)
