"""What a tokenizer does, as a hash: equal for siblings whose files differ only in what does not change the tokens."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from forecast.core.errors import CheckpointError
from forecast.core.hashing import content_hash, file_hash

_SLOW_FILES = ("vocab.json", "merges.txt", "vocab.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model")

# Several scripts, composed and combining accents, contractions, numbers, runs of blanks and breaks, code, signs.
PROBE = (
    "The quick brown fox doesn't jump; it'll've LEAPT over 1,234,567.89 lazy dogs (3rd time) on 2024-02-29.\n"
    "  two  blanks,   three    four\tone tab\t\ttwo tabs\n\n\nthree breaks \r\n trailing blank \n"
    "def f(x: int = 0) -> str:\n    return f'{x:>8}' if x != 1 else \"\"  # comment_with_snake_case and camelCase\n"
    "na\u00efve cafe\u0301 \u00c5ngstr\u00f6m stra\u00dfe \u0416\u0443\u043a \u03b1\u03b2\u03b3 \u4f60\u597d\u4e16\u754c"
    " \u0627\u0644\u0639 \U0001f600\u200d\u2764\ufe0f \u2581 \u00a0 \ufb01 \u2460 \u00bd\n"
    "a b c A B C 0 1 10 100 1000 ... --- ___ *** $x^2$ \\frac{1}{2} <tag attr='v'/> http://example.org/?q=1&r=%20 @user #tag\n"
)


def tokenizer_behaviour(folder: Path) -> str | None:
    """Hash of the vocabulary, the merges, and the tokens of a probe text; None where a folder has no tokenizer.

    Vocabulary and merges are compared as they are; normalisation, splitting and added tokens by what they do to the probe:
    their descriptions differ between versions of the library that wrote them. Special tokens, padding and truncation are left
    out: they differ between siblings and change no token of a scored text.

    Raises:
        CheckpointError: tokenizer.json is malformed.
    """
    path = folder / "tokenizer.json"
    if path.is_file():
        # Revisions share the file in the hub's cache: the real path tells.
        real = path.resolve()
        return _behaviour_of(real, real.stat().st_mtime_ns)
    files = [folder / name for name in _SLOW_FILES if (folder / name).is_file()]
    return content_hash({file.name: file_hash(file) for file in files}) if files else None


@lru_cache(maxsize=64)
def _behaviour_of(path: Path, _changed_at: int) -> str:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        tokens = _probe_tokens(json.dumps(content))
        return content_hash({"model": _vocabulary(content), "probe": tokens})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is not a tokenizer: {error}", remedy="fetch or copy it again") from error


def _vocabulary(content: dict[str, Any]) -> list[object]:
    model = content["model"]
    # Newer writers store a merge as a pair, older ones as one text with a blank.
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model.get("merges") or []]
    return [model.get("type"), model["vocab"], merges]


def _probe_tokens(text: str) -> list[int]:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # The Rust library raises plain Exception.
        raise ValueError(error) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    ids: list[int] = tokenizer.encode(PROBE, add_special_tokens=False).ids
    return ids
