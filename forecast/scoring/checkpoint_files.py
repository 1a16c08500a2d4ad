"""A checkpoint folder before anything is loaded: is it complete, and what identifies its weights and its tokenizer."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from forecast.core.errors import CheckpointError
from forecast.core.hashing import content_hash, file_hash
from forecast.core.user_files import check_user_file, read_user_text
from forecast.scoring.config_limits import check_config

_WEIGHT_SETS = (
    ("model.safetensors", "model.safetensors.index.json", "*.safetensors"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model*.bin"),
)
"""The order in which transformers looks for weights: a single file, an index of shards; then whatever is there."""
_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
_VOCABULARY_FILES = frozenset(
    {"tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model", "tekken.json"}
)
_JSON_BYTES = 64 << 20
"""No configuration is larger; reading on would only fill the memory."""
_CACHED_FROM_BYTES = 64 << 20
"""Hashing a file below this size costs less than a tenth of a second; larger ones are remembered by path, size and time."""


def read_config(folder: Path) -> dict[str, Any]:
    """Return `config.json` of a folder that has all it needs.

    Raises:
        CheckpointError: the folder, its configuration, weights or tokenizer is missing or unreadable, a file is not a regular
            file, the weights are an adapter, or the configuration describes what the weights cannot hold.
    """
    if not folder.is_dir():
        raise CheckpointError(f"no folder {folder}", expected="a Hugging Face checkpoint folder or a hub id")
    _check_regular(folder)
    adapters = [name for name in _ADAPTER_FILES if (folder / name).exists()]
    if adapters:
        raise CheckpointError(
            f"{folder} holds an adapter ({', '.join(adapters)})",
            expected="whole weights: an adapter left out would score another model",
            remedy="merge it into its base model (peft's merge_and_unload), or move the adapter's files away to score the base",
        )
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{folder} has no config.json", expected="a Hugging Face checkpoint folder")
    config = parse_json_file(path, expected="a JSON object")
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} is not a JSON object", expected="a Hugging Face model configuration")
    if not weight_files(folder):
        raise CheckpointError(f"{folder} has no weights", expected="model.safetensors or pytorch_model.bin")
    if not any((folder / name).is_file() for name in _VOCABULARY_FILES) and not any(folder.glob("*.tiktoken")):
        raise CheckpointError(
            f"{folder} has no tokenizer",
            expected="tokenizer.json (or vocab and merges files) next to the weights",
            remedy="copy the tokenizer's files into the folder",
        )
    check_config(path, config)
    return config


def parse_json_file(path: Path, *, expected: str) -> Any:
    """Return a JSON file's content.

    Raises:
        CheckpointError: it cannot be read, or is not JSON.
    """
    text = read_user_text(path, expected=expected, error=CheckpointError, limit=_JSON_BYTES)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise CheckpointError(f"{path} cannot be read: {reason}", expected=expected) from error


def _check_regular(folder: Path) -> None:
    """Refuse a folder with a pipe or a device among its files: whoever opened it would wait for ever."""
    for path in sorted(folder.iterdir()):
        if not path.is_dir() and not (path.is_symlink() and not path.exists()):
            mode = path.stat().st_mode
            if not stat.S_ISREG(mode):
                check_user_file(path, expected="a checkpoint folder of regular files", error=CheckpointError)


def weight_files(folder: Path) -> list[Path]:
    """Return the files that hold the weights, as transformers chooses them; safetensors where both kinds are there.

    Raises:
        CheckpointError: the index of the shards is malformed, or a shard that it names is missing.
    """
    for single, index, pattern in _WEIGHT_SETS:
        if (folder / single).is_file():
            return [folder / single]
        if (folder / index).is_file():
            return _indexed_files(folder / index)
        files = sorted(path for path in folder.glob(pattern) if path.is_file() and path.name not in _ADAPTER_FILES)
        if files:
            return files
    return []


def _indexed_files(index: Path) -> list[Path]:
    expected = "an index with a weight_map of tensor names to files of this folder"
    content = parse_json_file(index, expected=expected)
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise CheckpointError(f"{index} names no weight files", expected=expected)
    names = sorted(set(places.values()))
    missing = [name for name in names if "/" in name or not (index.parent / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{index.parent} lacks {len(missing)} of the {len(names)} weight files that its index names "
            f"({', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''})",
            expected="all of them",
            remedy="copy or download the checkpoint again",
        )
    return [index.parent / name for name in names]


def hub_identity(source: str, commit: str) -> str:
    """Hash of what defines the scores of a hub checkpoint at a commit: known before anything is downloaded."""
    return content_hash(["hub", source, commit])


def checkpoint_identity(folder: Path, revision_sha: str = "", source: str = "") -> str:
    """Hash of what defines a checkpoint's scores: hub id and commit where known, or else weights, configuration and tokenizer.

    A pinned commit covers the tokenizer, which is fetched from the same commit.
    """
    if revision_sha:
        return hub_identity(source, revision_sha)
    files = {path.name: _remembered_hash(path) for path in (folder / "config.json", *weight_files(folder), *_own_code(folder))}
    return content_hash(["files", files, "tokenizer", tokenizer_identity(folder)])


def identity_without_tokenizer(folder: Path) -> str:
    """The hash under which earlier results files keep a folder: of configuration and weights alone."""
    files = [folder / "config.json"]
    for _, _, pattern in _WEIGHT_SETS:
        found = sorted(folder.glob(pattern))
        if found:
            files += found
            break
    return content_hash(["files", {path.name: _remembered_hash(path) for path in files}])


def tokenizer_identity(folder: Path) -> str:
    """Hash of the content of the tokenizer's files."""
    names = [*_TOKENIZER_FILES, *sorted(path.name for path in folder.glob("*.tiktoken"))]
    return content_hash({name: _remembered_hash(folder / name) for name in names if (folder / name).is_file()})


def _own_code(folder: Path) -> list[Path]:
    """Python files of a model that brings its own: part of what it computes."""
    return sorted(folder.glob("*.py"))


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
