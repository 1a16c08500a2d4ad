"""Parameters of a checkpoint folder, counted from the headers of its weight files: no tensor is read, no torch needed."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from forecast.core.errors import CheckpointError

_MAX_HEADER_BYTES = 100_000_000
"""The format's own bound: https://github.com/huggingface/safetensors#format."""
_CHUNK_BYTES = 1 << 20
_BUFFER = re.compile(r"(?:^|\.)(?:inv_freq|masked_bias|position_ids)$")
_CAUSAL_MASK = re.compile(r"(?:^|\.)(?:attn|attention)\.bias$")
_INPUT_EMBEDDING = re.compile(
    r"(?:^|\.)(?:embed_in|embed_tokens|wte|word_embeddings|embeddings|tok_embeddings|wpe|embed_positions|position_embeddings)\.weight$"
)
_OUTPUT_EMBEDDING = re.compile(r"(?:^|\.)(?:embed_out|lm_head|output)\.weight$")


@dataclass(frozen=True, kw_only=True)
class CountedParameters:
    """Numbers of one checkpoint."""

    total: int
    """All parameters, tied matrices once."""
    non_embedding: int
    """Without token and position embeddings and without an untied output matrix."""


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """Where a tensor's bytes lie."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    """First byte in the file."""
    size: int
    """Bytes."""


def count_parameters(folder: Path) -> CountedParameters | None:
    """Count a folder's parameters; None where it has no safetensors (pickled weights have no header that can be trusted).

    Masks and rotary frequencies, which old files store beside the weights, are not parameters. A tied output matrix is stored
    by some writers and left out by others: where its bytes are those of the input embedding, it counts once.

    Raises:
        CheckpointError: a file is cut short or its header is malformed.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        return None
    tensors: dict[str, StoredTensor] = {}
    for path in files:
        tensors |= {name: tensor for name, tensor in read_header(path).items() if not _is_buffer(name, tensor.shape)}
    inputs = {name: tensor for name, tensor in tensors.items() if _INPUT_EMBEDDING.search(name)}
    outputs = {name: tensor for name, tensor in tensors.items() if _OUTPUT_EMBEDDING.search(name)}
    for name, tensor in outputs.items():
        if any(_same_content(tensor, other) for other in inputs.values()):
            del tensors[name]
    total = sum(math.prod(tensor.shape) for tensor in tensors.values())
    embeddings = sum(math.prod(tensor.shape) for name, tensor in tensors.items() if name in inputs or name in outputs)
    return CountedParameters(total=total, non_embedding=total - embeddings)


def read_header(path: Path) -> dict[str, StoredTensor]:
    """Return the tensors of a safetensors file by name, without reading them.

    Raises:
        CheckpointError: the file is cut short or its header is malformed.
    """
    try:
        with path.open("rb") as handle:
            size = int.from_bytes(handle.read(8), "little")
            if not 2 <= size <= _MAX_HEADER_BYTES:
                raise ValueError(f"a header of {size} bytes")
            header = json.loads(handle.read(size).decode("utf-8"))
        if not isinstance(header, Mapping):
            raise TypeError("the header is no object")
        tensors = {
            name: StoredTensor(
                path=path,
                dtype=str(entry["dtype"]),
                shape=tuple(int(length) for length in entry["shape"]),
                start=8 + size + int(entry["data_offsets"][0]),
                size=int(entry["data_offsets"][1]) - int(entry["data_offsets"][0]),
            )
            for name, entry in header.items()
            if name != "__metadata__"
        }
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise CheckpointError(f"{path} is no safetensors file: {error}", remedy="fetch or copy it again") from error
    end = max((tensor.start + tensor.size for tensor in tensors.values()), default=8 + size)
    found = path.stat().st_size
    if found != end:
        raise CheckpointError(f"{path} has {found:,} bytes", expected=f"{end:,}", remedy="fetch or copy it again")
    return tensors


def _is_buffer(name: str, shape: tuple[int, ...]) -> bool:
    return bool(_BUFFER.search(name)) or (len(shape) == 4 and bool(_CAUSAL_MASK.search(name)))


def _same_content(one: StoredTensor, other: StoredTensor) -> bool:
    if (one.shape, one.dtype, one.size) != (other.shape, other.dtype, other.size):
        return False
    with one.path.open("rb") as left, other.path.open("rb") as right:
        left.seek(one.start)
        right.seek(other.start)
        remaining = one.size
        while remaining:
            count = min(remaining, _CHUNK_BYTES)
            if left.read(count) != right.read(count):
                return False
            remaining -= count
    return True
