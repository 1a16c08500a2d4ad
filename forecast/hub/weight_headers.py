"""Parameters of a checkpoint folder, counted from the headers of its weight files: no tensor is read, no torch needed."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from forecast.core.errors import CheckpointError
from forecast.hub.pickle_headers import read_pickled_shapes

_MAX_HEADER_BYTES = 100_000_000
"""The format's own bound: https://github.com/huggingface/safetensors#format."""
_CHUNK_BYTES = 1 << 20
_BUFFER = re.compile(r"(?:^|\.)(?:inv_freq|masked_bias|position_ids|token_type_ids|causal_mask)$")
_CAUSAL_MASK = re.compile(r"(?:^|\.)(?:attn|attention)\.bias$")
_EMBEDDING = re.compile(
    r"(?:^|\.)(?:embed_in|embed_tokens|wte|wpe|word_embeddings|tok_embeddings|embeddings|embedding|embed_positions|position_embeddings|"
    r"token_type_embeddings|embed_out|lm_head)\.weight$"
)
_NUMBERED = re.compile(r"\.\d+\.")
_INNER = re.compile(r"dense|proj|transform\.|norm", re.IGNORECASE)
_PACKED = frozenset({"I8", "U8", "I16", "U16", "I32", "U32"})
"""Types of quantised weights, several of which may share one number."""
_NO_PARAMETER = frozenset({"BOOL", "I64", "U64"})


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
    """First byte in the file; 0 in a pickled one."""
    size: int
    """Bytes; 0 in a pickled file."""
    storage: str = ""
    """Name of the storage in a pickled file."""


def count_parameters(folder: Path) -> CountedParameters | None:
    """Count a folder's parameters; None where the headers cannot say (no weights, quantised ones, torch's oldest format).

    Masks and rotary frequencies, which old files store besides the weights, are not parameters. A tied output matrix is stored
    by some writers and left out by others: where its bytes are those of the input embedding, it counts once. Embeddings are
    the matrices outside the numbered layers that are named so, or have one row for each entry of the vocabulary.

    Raises:
        CheckpointError: a file is cut short or its header is malformed.
    """
    tensors = {name: tensor for name, tensor in _read_tensors(folder).items() if not _is_buffer(name, tensor)}
    if not tensors or any(tensor.dtype in _PACKED for tensor in tensors.values()):
        return None
    vocabulary = _vocabulary(folder)
    embeddings: dict[str, StoredTensor] = {}
    copies: set[str] = set()
    for name, tensor in tensors.items():
        if _is_embedding(name, tensor, vocabulary):
            if any(_same_content(tensor, other) for other in embeddings.values()):
                copies.add(name)
            else:
                embeddings[name] = tensor
    total = sum(math.prod(tensor.shape) for name, tensor in tensors.items() if name not in copies)
    return CountedParameters(total=total, non_embedding=total - sum(math.prod(entry.shape) for entry in embeddings.values()))


def _read_tensors(folder: Path) -> dict[str, StoredTensor]:
    tensors: dict[str, StoredTensor] = {}
    files = sorted(folder.glob("*.safetensors"))
    for path in files:
        tensors |= read_header(path)
    if files:
        return tensors
    for path in sorted(folder.glob("pytorch_model*.bin")):
        pickled = read_pickled_shapes(path)
        if pickled is None:
            return {}
        for name, tensor in pickled.items():
            tensors[name] = StoredTensor(
                path=path, dtype=tensor.dtype, shape=tensor.shape, start=0, size=0, storage=tensor.storage
            )
    return tensors


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
            raise TypeError("the header is not an object")
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
        raise CheckpointError(f"{path} is not a safetensors file: {error}", remedy="fetch or copy it again") from error
    end = max((tensor.start + tensor.size for tensor in tensors.values()), default=8 + size)
    found = path.stat().st_size
    if found != end:
        raise CheckpointError(f"{path} has {found:,} bytes", expected=f"{end:,}", remedy="fetch or copy it again")
    return tensors


def _is_buffer(name: str, tensor: StoredTensor) -> bool:
    if tensor.dtype in _NO_PARAMETER or _BUFFER.search(name):
        return True
    return len(tensor.shape) == 4 and bool(_CAUSAL_MASK.search(name))


def _is_embedding(name: str, tensor: StoredTensor, vocabulary: int | None) -> bool:
    if len(tensor.shape) != 2 or _NUMBERED.search(name):
        return False
    return bool(_EMBEDDING.search(name)) or (tensor.shape[0] == vocabulary and not _INNER.search(name))


def _vocabulary(folder: Path) -> int | None:
    """Entries of the vocabulary as config.json says them; what is wrong with that file, its loader will report."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        size = config.get("vocab_size") or (config.get("text_config") or {}).get("vocab_size")
    except (OSError, ValueError, AttributeError):
        return None
    return size if isinstance(size, int) else None


def _same_content(one: StoredTensor, other: StoredTensor) -> bool:
    if (one.shape, one.dtype, one.size) != (other.shape, other.dtype, other.size):
        return False
    if one.storage or other.storage:
        return (one.path, one.storage) == (other.path, other.storage)
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
