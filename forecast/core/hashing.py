"""Content hashes: one canonical form, so that equal definitions have equal keys on every machine."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

_CHUNK_BYTES = 1 << 20


def content_hash(value: object) -> str:
    """SHA-256 (first 128 bits, hexadecimal) of a JSON-serialisable value in canonical form.

    >>> content_hash({"b": 1, "a": [1, 2]}) == content_hash({"a": [1, 2], "b": 1})
    True
    """
    canonical = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode("utf-8")).hexdigest()[:32]


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
