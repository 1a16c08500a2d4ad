"""What a tokenizer does, as a hash: equal for siblings whose files differ only in what does not change the tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from forecast.core.errors import CheckpointError
from forecast.core.hashing import content_hash, file_hash

_SLOW_FILES = ("vocab.json", "merges.txt", "vocab.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model")


def tokenizer_behaviour(folder: Path) -> str | None:
    """Hash of vocabulary, merges, normalisation, splitting and added tokens; None where a folder has no tokenizer.

    Truncation, padding, special tokens and the decoder are left out: they differ between siblings and change no token of a
    scored text.

    Raises:
        CheckpointError: tokenizer.json is malformed.
    """
    path = folder / "tokenizer.json"
    if path.is_file():
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return content_hash(_essence(content))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{path} is no tokenizer: {error}", remedy="fetch or copy it again") from error
    files = [folder / name for name in _SLOW_FILES if (folder / name).is_file()]
    return content_hash({file.name: file_hash(file) for file in files}) if files else None


def _essence(content: dict[str, Any]) -> dict[str, Any]:
    model = content.get("model") or {}
    # Newer writers store a merge as a pair, older ones as one text with a blank.
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model.get("merges") or []]
    added = [entry for entry in content.get("added_tokens") or [] if not entry.get("special")]
    return {
        "type": model.get("type"),
        "vocab": model.get("vocab"),
        "merges": merges,
        "normalizer": content.get("normalizer"),
        "pre_tokenizer": content.get("pre_tokenizer"),
        "added": [[entry.get("id"), entry.get("content")] for entry in added],
    }
