"""What a configuration may ask for: numbers, and no more of anything than the weight files hold."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from forecast.core.errors import CheckpointError

_COUNTS = frozenset(
    {
        "vocab_size",
        "hidden_size",
        "d_model",
        "n_embd",
        "num_hidden_layers",
        "n_layer",
        "n_layers",
        "num_layers",
        "num_attention_heads",
        "n_head",
        "n_heads",
        "num_key_value_heads",
        "head_dim",
        "intermediate_size",
        "n_inner",
        "ffn_dim",
        "ffn_hidden_size",
        "n_positions",
        "word_embed_proj_dim",
    }
)
"""Fields that are whole numbers above 0 wherever they are given; a list holds one for each layer."""
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_NUMBERS = frozenset(
    {"rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_eps", "norm_epsilon", "rope_theta", "rotary_pct"}
)
_NESTED = ("text_config", "llm_config", "language_config")
_FIRST_NUMBER = re.compile(r"\.(\d+)\.")
_WHOLE_TYPES = frozenset({"BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64"})
_MOST_LAYERS = 1000
"""Some architectures use one stored layer many times (ALBERT), none more often than this."""
_MOST_COUNTED = 1 << 40
_SHOWN_CHARACTERS = 40
_SLACK = 2.0
_SMALL = 20_000_000
"""A module of fewer parameters costs nothing to build: what is wrong with it, loading names tensor by tensor."""


def check_config(path: Path, config: Mapping[str, Any]) -> None:
    """Refuse sizes that are not whole numbers above 0, and constants that are not finite numbers.

    Raises:
        CheckpointError: a field is of the wrong kind, negative, zero or NaN; the field is named.
    """
    for prefix, section in _sections(config):
        for name, value in section.items():
            if name in _COUNTS and value is not None:
                entries = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
                if not all(entry is None or _is_count(entry) for entry in entries):
                    raise _wrong(path, f"{prefix}{name}", value, "a whole number above 0")
            elif name in _NUMBERS and value is not None and not _is_number(value):
                raise _wrong(path, f"{prefix}{name}", value, "a finite number of at least 0")


def check_layers(folder: Path, config: Mapping[str, Any], files: Sequence[Path]) -> None:
    """Refuse a number of layers far beyond what the weight files hold: building them would take for ever.

    Raises:
        CheckpointError: the configuration is refused, or a weight file is not a safetensors file.
    """
    shapes = read_shapes(files)
    held = 0
    if shapes is not None:
        numbers = [int(match[1]) for name in shapes if (match := _FIRST_NUMBER.search(name))]
        held = max(numbers, default=-1) + 1
    for prefix, section in _sections(config):
        for name in _LAYERS:
            asked = section.get(name)
            if isinstance(asked, int) and asked > max(held, _MOST_LAYERS):
                said = f"the weights hold {held}" if shapes is not None else "no model has so many"
                raise CheckpointError(
                    f"{folder}/config.json: {prefix}{name} is {asked:,}, and {said}",
                    expected="the configuration that the weights were saved with",
                )


def check_size(folder: Path, asked: int, files: Sequence[Path]) -> None:
    """Refuse a module with many more parameters than the weight files hold: filling it could take all memory.

    Raises:
        CheckpointError: the configuration is refused, or a weight file is not a safetensors file.
    """
    shapes = read_shapes(files)
    # Two 4-bit numbers may share a byte, in a quantised or pickled file whose tensors cannot be counted.
    held = 2 * sum(path.stat().st_size for path in files)
    if shapes is not None:
        held = min(held, max(1, sum(math.prod(shape) for shape in shapes.values())))
    if asked > max(_SMALL, _SLACK * held):
        raise CheckpointError(
            f"{folder}/config.json describes a model of {asked:,} parameters, and the weights hold {held:,}",
            expected="the configuration that the weights were saved with",
        )


def whole_number_tensors(files: Sequence[Path]) -> frozenset[str]:
    """Return the tensors that safetensors files hold as whole numbers: quantised ones, which need their scales."""
    from safetensors import safe_open

    found: set[str] = set()
    for path in files:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="numpy") as handle:
                found |= {name for name in handle.keys() if handle.get_slice(name).get_dtype() in _WHOLE_TYPES}  # noqa: SIM118
    return frozenset(found)


def read_shapes(files: Sequence[Path]) -> dict[str, tuple[int, ...]] | None:
    """Return the shapes of all tensors by name from the headers of safetensors files; None for files of another kind.

    Raises:
        CheckpointError: a file is cut short or its header is malformed.
    """
    if any(path.suffix != ".safetensors" for path in files):
        return None
    from safetensors import SafetensorError, safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    for path in files:
        try:
            with safe_open(path, framework="numpy") as handle:
                shapes |= {name: tuple(handle.get_slice(name).get_shape()) for name in handle.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(
                f"{path} is not a safetensors file: {error}", expected="complete weights", remedy="fetch or copy it again"
            ) from error
    return shapes


def _sections(config: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "", config
    for name in _NESTED:
        if isinstance(config.get(name), Mapping):
            yield f"{name}.", config[name]


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST_COUNTED


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _wrong(path: Path, name: str, value: object, expected: str) -> CheckpointError:
    text = repr(value)
    shown = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
    return CheckpointError(f"{path}: {name} is {shown}", expected=expected, remedy="repair config.json")
