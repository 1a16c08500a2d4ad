"""YAML in which every value knows its file, line and field, so that an error in a card is reported with its place."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from forecast.core.errors import InputError
from forecast.core.nearest import did_you_mean
from forecast.core.user_files import read_user_text


@dataclass(frozen=True, kw_only=True)
class Field:
    """One value of a card with its place in the file. `value` holds Fields where it is a mapping or a list."""

    file: Path
    line: int
    """Line in the file, from 1."""
    name: str
    """Where in the card: `models[2].params`; empty for the whole card."""
    value: dict[str, Field] | list[Field] | str | int | float | bool | None

    def error(self, problem: str, *, expected: str = "", remedy: str = "") -> InputError:
        """Return an error that names file, line and field."""
        subject = f"field '{self.name}'" if self.name else "the card"
        return InputError(f"{self.file}, line {self.line}: {subject} {problem}", expected=expected, remedy=remedy)

    def entries(self, *, required: Collection[str] = (), optional: Collection[str] = ()) -> dict[str, Field]:
        """Return the fields of a mapping.

        Raises:
            InputError: it is not a mapping, a required field is missing, or a field has no meaning here.
        """
        if not isinstance(self.value, dict):
            raise self.error(f"is {self._shown()}", expected="fields (name: value)")
        known = [*required, *optional]
        for key, entry in self.value.items():
            if key not in known:
                expected = "one of " + ", ".join(sorted(known))
                raise entry.error("has no meaning here", expected=expected, remedy=did_you_mean(key, known))
        for key in required:
            if key not in self.value:
                raise self.error(f"lacks '{key}'", expected="the fields " + ", ".join(required))
        return self.value

    def elements(self) -> list[Field]:
        """Return the elements of a list that must not be empty."""
        if not isinstance(self.value, list) or not self.value:
            raise self.error(f"is {self._shown()}", expected="a list of at least one entry")
        return self.value

    def text(self) -> str:
        """Return a non-empty string."""
        if not isinstance(self.value, str) or not self.value.strip():
            raise self.error(f"is {self._shown()}", expected="a non-empty text")
        return self.value.strip()

    def one_of(self, allowed: Collection[str]) -> str:
        """Return a string out of a closed list."""
        if self.value not in allowed:
            raise self.error(f"is {self._shown()}", expected="one of " + ", ".join(allowed))
        return str(self.value)

    def url(self) -> str:
        """Return a web address."""
        text = self.text()
        parts = urlsplit(text)
        if parts.scheme not in {"http", "https"} or "." not in parts.netloc:
            raise self.error(f"is {self._shown()}", expected="a web address (https://...)")
        return text

    def whole(self, *, minimum: int = 0) -> int:
        """Return a whole number."""
        if not isinstance(self.value, int) or isinstance(self.value, bool) or self.value < minimum:
            raise self.error(f"is {self._shown()}", expected=f"a whole number of at least {minimum}")
        return self.value

    def number(self, *, minimum: float = 0.0, maximum: float = math.inf) -> float:
        """Return a finite number; `1e20`, which YAML takes for a text, is one too."""
        value = self.value
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                value = None
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise self.error(f"is {self._shown()}", expected="a number")
        if not minimum <= value <= maximum:
            raise self.error(f"is {self._shown()}", expected=f"a number between {minimum:g} and {maximum:g}")
        return float(value)

    def flag(self) -> bool:
        """Return true or false."""
        if not isinstance(self.value, bool):
            raise self.error(f"is {self._shown()}", expected="true or false")
        return self.value

    def plain(self) -> object:
        """Return the value as ordinary mappings, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: entry.plain() for key, entry in self.value.items()}
        if isinstance(self.value, list):
            return [entry.plain() for entry in self.value]
        return self.value

    def _shown(self) -> str:
        if isinstance(self.value, dict):
            return "a mapping"
        if isinstance(self.value, list):
            return "a list" if self.value else "an empty list"
        return repr(self.value)


def read_located(path: Path) -> Field:
    """Read one YAML document.

    Raises:
        InputError: the file cannot be read, is no YAML, is empty, or names a field twice.
    """
    text = read_user_text(path, expected="a YAML card in UTF-8")
    loader: yaml.SafeLoader | None = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            raise InputError(f"{path} is empty", expected="a YAML card")
        return _locate(loader, node, path, "")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise InputError(f"{path}{line}: {error.problem or error}", expected="valid YAML") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path}: {' '.join(str(error).split())}", expected="valid YAML") from error
    finally:
        if loader is not None:
            loader.dispose()


def _locate(loader: yaml.SafeLoader, node: yaml.Node, path: Path, name: str) -> Field:
    line = node.start_mark.line + 1
    value: dict[str, Field] | list[Field] | str | int | float | bool | None
    if isinstance(node, yaml.MappingNode):
        value = {}
        for key_node, value_node in node.value:
            key = str(loader.construct_object(key_node))
            child = f"{name}.{key}" if name else key
            if key in value:
                raise InputError(
                    f"{path}, line {key_node.start_mark.line + 1}: field '{child}' occurs twice", expected="one value per field"
                )
            located = _locate(loader, value_node, path, child)
            # The key's line is where a reader looks, also when the value starts on the next one.
            value[key] = Field(file=path, line=key_node.start_mark.line + 1, name=child, value=located.value)
    elif isinstance(node, yaml.SequenceNode):
        value = [_locate(loader, entry, path, f"{name}[{index}]") for index, entry in enumerate(node.value)]
    else:
        scalar = loader.construct_object(node)
        value = scalar if isinstance(scalar, str | int | float | bool) or scalar is None else str(scalar)
    return Field(file=path, line=line, name=name, value=value)


def plain_mapping(field: Field) -> Mapping[str, object]:
    """Return a mapping field as an ordinary mapping."""
    return {key: entry.plain() for key, entry in field.entries(optional=_keys(field)).items()}


def _keys(field: Field) -> list[str]:
    return list(field.value) if isinstance(field.value, dict) else []
