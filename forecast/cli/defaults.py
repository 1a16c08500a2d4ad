"""Options' defaults from the user's settings file, checked against what the commands take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forecast.core.errors import InputError
from forecast.core.nearest import did_you_mean
from forecast.core.settings_file import SettingsFile

NEVER_SET = frozenset({"trust-remote-code", "trust-task-code", "run-generated-code", "write", "read", "help"})
"""What runs the code of others, or writes files, is asked for on the command line: a settings file may come with a download."""
_EXPECTED = "names of options, for one command under [COMMAND]"


@dataclass(frozen=True, kw_only=True)
class Default:
    """One default that holds for one command."""

    command: str
    option: str
    """With its dashes."""
    value: Any


def settle_defaults(root: Any, settings: SettingsFile) -> list[Default]:
    """Return every default that the settings give, in the order of the commands.

    Args:
        root: the application's click group.
        settings: what the file says.

    Raises:
        InputError: it names a command or option that does not exist, or one that a file may not set.
    """
    leaves = dict(_leaves(root))
    known = {option for command in leaves.values() for option in _options(command)}
    for name in settings.common:
        _check(settings, name, known, "")
    found = []
    for group in settings.commands:
        inside = [name for name in leaves if name == group or name.startswith(f"{group}.")]
        if not inside:
            near = did_you_mean(group, leaves)
            raise InputError(f"{settings.path}: there is no command '{group}'", expected=_EXPECTED, remedy=near)
        for name in settings.commands[group]:
            _check(settings, name, {option for leaf in inside for option in _options(leaves[leaf])}, f"[{group}] ")
    for name, command in leaves.items():
        options = _options(command)
        group = name.partition(".")[0]
        said: dict[str, Any] = {**settings.common, **settings.commands.get(group, {}), **settings.commands.get(name, {})}
        for key, value in said.items():
            parameter = options.get(_plain(key))
            if parameter is not None:
                found.append(Default(command=name, option=_spelled(parameter), value=_value(settings, key, parameter, value)))
    return found


def default_map(root: Any, settings: SettingsFile) -> dict[str, Any]:
    """Return the same as click wants it: nested by command, by the names of the functions' parameters."""
    leaves = dict(_leaves(root))
    found: dict[str, Any] = {}
    for default in settle_defaults(root, settings):
        place = found
        for part in default.command.split("."):
            place = place.setdefault(part, {})
        place[_options(leaves[default.command])[default.option.lstrip("-")].name] = default.value
    return found


def _leaves(command: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, entry in command.commands.items():
        if hasattr(entry, "commands"):
            yield from _leaves(entry, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", entry


def _options(command: Any) -> dict[str, Any]:
    """Option, without dashes -> parameter; arguments have no default of their own."""
    return {
        name.lstrip("-"): parameter
        for parameter in command.params
        if parameter.param_type_name == "option"
        for name in parameter.opts
        if name.startswith("--")
    }


def _plain(name: str) -> str:
    return name.replace("_", "-")


def _spelled(parameter: Any) -> str:
    return str(next(name for name in parameter.opts if name.startswith("--")))


def _check(settings: SettingsFile, name: str, known: Mapping[str, Any] | set[str], where: str) -> None:
    if _plain(name) in NEVER_SET:
        raise InputError(
            f"{settings.path}: {where}{name} cannot be set in a file", remedy=f"give --{_plain(name)} on the command line"
        )
    if _plain(name) not in known:
        raise InputError(
            f"{settings.path}: {f'{where}has no' if where else 'no command has the'} option '{name}'",
            expected=_EXPECTED,
            remedy=did_you_mean(_plain(name), known),
        )


def _value(settings: SettingsFile, name: str, parameter: Any, value: Any) -> Any:
    """Bring a value to the form that the option takes; a path is relative to the file that names it."""
    if isinstance(value, list) != bool(parameter.multiple):
        if not parameter.multiple and all(isinstance(entry, str | int | float) for entry in value):
            # `task = ["piqa", "sciq"]` reads better than the comma-separated text that the option takes.
            value = ",".join(map(str, value))
        elif parameter.multiple and not isinstance(value, dict):
            value = [value]
    is_flag = bool(getattr(parameter, "is_flag", False))
    if isinstance(value, dict) or isinstance(value, bool) != is_flag:
        raise InputError(f"{settings.path}: {name} is {value!r}", expected="true or false" if is_flag else "a text or a number")
    if _names_a_file(parameter) and settings.path is not None:
        base = settings.path.parent
        return [str(base / entry) for entry in value] if parameter.multiple else str(base / Path(str(value)).expanduser())
    return value if is_flag or isinstance(value, list) else str(value)


def _names_a_file(parameter: Any) -> bool:
    # Typer with a click of its own keeps the annotation; with click itself the type has a name.
    described = getattr(parameter, "type_descriptor", None)
    if described is not None:
        return Path in {described.annotation, *getattr(described.annotation, "__args__", ())}
    return str(getattr(parameter.type, "name", "")) in {"path", "file", "directory"}
