"""A checkpoint folder before anything is loaded: is it complete, and what identifies its weights and its tokenizer."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from forecast.core.errors import CheckpointError
from forecast.core.hashing import content_hash, file_hash

_WEIGHT_PATTERNS = ("*.safetensors", "pytorch_model*.bin")
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
_VOCABULARY_FILES = frozenset({"tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model"})
_CACHED_FROM_BYTES = 64 << 20
"""Hashing a file below this size costs less than a tenth of a second; larger ones are remembered by path, size and time."""


def read_config(folder: Path) -> dict[str, Any]:
    """Return `config.json` of a folder that has all it needs.

    Raises:
        CheckpointError: the folder, its configuration, weights or tokenizer is missing or unreadable.
    """
    if not folder.is_dir():
        raise CheckpointError(f"no folder {folder}", expected="a Hugging Face checkpoint folder or a hub id")
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} has no config.json", expected="a Hugging Face checkpoint folder") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}", expected="a JSON object") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} is no JSON object", expected="a Hugging Face model configuration")
    if not weight_files(folder):
        raise CheckpointError(f"{folder} has no weights", expected="model.safetensors or pytorch_model.bin")
    if not any((folder / name).is_file() for name in _VOCABULARY_FILES):
        raise CheckpointError(
            f"{folder} has no tokenizer",
            expected="tokenizer.json (or vocab and merges files) beside the weights",
            remedy="copy the tokenizer's files into the folder",
        )
    return config


def weight_files(folder: Path) -> list[Path]:
    """Return the files that hold the weights; safetensors where both kinds are there."""
    for pattern in _WEIGHT_PATTERNS:
        files = sorted(folder.glob(pattern))
        if files:
            return files
    return []


def checkpoint_identity(folder: Path, revision_sha: str = "", source: str = "") -> str:
    """Hash of what the weights are: hub id and commit where known, else the content of config and weight files."""
    if revision_sha:
        return content_hash(["hub", source, revision_sha])
    files = [folder / "config.json", *weight_files(folder)]
    return content_hash(["files", {path.name: _remembered_hash(path) for path in files}])


def tokenizer_identity(folder: Path) -> str:
    """Hash of the content of the tokenizer's files."""
    present = [folder / name for name in _TOKENIZER_FILES if (folder / name).is_file()]
    return content_hash({path.name: file_hash(path) for path in present})


def _remembered_hash(path: Path) -> str:
    """The file's hash; for large files from a cache whose key changes when the file does."""
    found = path.resolve().stat()
    if found.st_size < _CACHED_FROM_BYTES:
        return file_hash(path)
    key = content_hash([str(path.resolve()), found.st_size, found.st_mtime_ns, found.st_ino])
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "forecast" / "hashes" / key
    if cache.is_file():
        return cache.read_text(encoding="ascii")
    digest = file_hash(path)
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        partial = cache.with_suffix(f".{os.getpid()}")
        partial.write_text(digest, encoding="ascii")
        partial.replace(cache)
    except OSError:
        return digest  # A read-only home costs time, not correctness.
    return digest
