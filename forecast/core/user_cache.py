"""What is worth remembering between two commands, in the user's cache folder. It saves time only: losing it changes nothing."""

from __future__ import annotations

import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any


def cache_folder() -> Path | None:
    """Return `$XDG_CACHE_HOME/forecast` or `~/.cache/forecast`, whether or not it exists; None for a user without a home."""
    named = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(named or Path.home() / ".cache") / "forecast"
    except RuntimeError:
        return None


def read_cached(name: str) -> Any:
    """Return the JSON value kept under a name; None where there is none, or what is there cannot be read."""
    folder = cache_folder()
    if folder is None:
        return None
    try:
        return json.loads((folder / name).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def write_cached(name: str, value: Any) -> None:
    """Keep a JSON value under a name, whole or not at all; where the folder cannot be written to, nothing happens."""
    folder = cache_folder()
    if folder is None:
        return
    path = folder / name
    partial = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
        partial.replace(path)
    except OSError:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
