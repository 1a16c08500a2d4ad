"""`forecast.json`: what a checkpoint folder says of its own training, so that `forecast eval` needs no flags.

Written by `forecast train` next to the weights; anyone may write one for a folder of their own.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from forecast.core.errors import InputError
from forecast.core.records import Metadata
from forecast.core.units import FlopsConvention
from forecast.core.user_files import read_user_text

FILE_NAME = "forecast.json"
_MOST = 2**63 - 1
"""What the results file can hold."""


@dataclass(frozen=True, kw_only=True)
class CheckpointNote:
    """Facts of one checkpoint. Numbers that are unknown are None; `flops` never goes without its convention."""

    family: str
    model: str
    step: int | None = None
    params: int | None = None
    params_non_embedding: int | None = None
    tokens: int | None = None
    flops: float | None = None
    flops_convention: str | None = None
    is_final: bool = True
    validation_loss: float | None = None
    """General text, nats per token."""
    metadata: Metadata = field(default_factory=dict)
    """Data hash, seed, learning rate, schedule, ..."""


def write_note(folder: Path, note: CheckpointNote) -> None:
    """Write the note into a checkpoint folder, whole or not at all."""
    partial = folder / (FILE_NAME + ".partial")
    partial.write_text(json.dumps(asdict(note), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(folder / FILE_NAME)


def read_note(folder: Path) -> CheckpointNote | None:
    """Return the folder's note, or None when it has none.

    Raises:
        InputError: the note is not a JSON object, has an unknown field, or a value of the wrong kind or range.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        return None
    text = read_user_text(path, expected="a JSON object")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}", expected="a JSON object", remedy="repair or delete it") from error
    known = {entry.name for entry in fields(CheckpointNote)}
    if not isinstance(content, dict) or not {"family", "model"} <= content.keys() <= known:
        unknown = sorted(set(content) - known) if isinstance(content, dict) else []
        raise InputError(
            f"{path} is not a checkpoint note (unknown fields: {', '.join(unknown) or 'none'})",
            expected="an object with family and model, and any of " + ", ".join(sorted(known - {"family", "model"})),
        )
    _check_values(path, content)
    return CheckpointNote(**content)


def _check_values(path: Path, content: dict[str, object]) -> None:
    for name in ("family", "model"):
        if not isinstance(content[name], str) or not content[name]:
            raise InputError(f"{path}: {name} is {content[name]!r}", expected="a non-empty string")
    for name in ("step", "params", "params_non_embedding", "tokens"):
        value = content.get(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MOST):
            raise InputError(f"{path}: {name} is {value!r}", expected="a whole number of at least 0 in 64 bits, or null")
    for name in ("flops", "validation_loss"):
        value = content.get(name)
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
        if value is not None and not number:
            raise InputError(f"{path}: {name} is {value!r}", expected="a finite number of at least 0, or null")
    conventions = [convention.value for convention in FlopsConvention]
    if content.get("flops") is not None and content.get("flops_convention") not in conventions:
        raise InputError(
            f"{path}: flops has the convention {content.get('flops_convention')!r}", expected="one of " + ", ".join(conventions)
        )
    if not isinstance(content.get("is_final", True), bool):
        raise InputError(f"{path}: is_final is {content['is_final']!r}", expected="true or false")
    if not isinstance(content.get("metadata", {}), dict):
        raise InputError(f"{path}: metadata is {content['metadata']!r}", expected="an object")
