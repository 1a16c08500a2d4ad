"""How much downloaded checkpoints may hold, and which of them go first."""

from __future__ import annotations

import re
from collections.abc import Set
from pathlib import Path

from forecast.core.errors import UsageError
from forecast.hub.cache import RepoCache, snapshot_bytes

CheckpointKey = tuple[str, str]
"""Hub id and revision."""


class CacheShelf:
    """The checkpoints that this program has used, in order; the oldest one goes first."""

    def __init__(self, cache_folder: Path, *, limit_bytes: int | None) -> None:
        """Start empty; no limit where `limit_bytes` is None."""
        self.limit_bytes = limit_bytes
        self._cache_folder = cache_folder
        self._used: dict[CheckpointKey, Path] = {}

    def use(self, key: CheckpointKey, folder: Path) -> None:
        """Record that a checkpoint is in use, and that what was used before is not any more."""
        self._used[key] = folder

    def could_hold(self, needed_bytes: int) -> bool:
        """Whether so much fits at all."""
        return self.limit_bytes is None or needed_bytes <= self.limit_bytes

    def has_room(self, needed_bytes: int) -> bool:
        """Whether so much fits beside what is held now."""
        return self.limit_bytes is None or self._held_bytes() + needed_bytes <= self.limit_bytes

    def evict(self, *, keep: Set[CheckpointKey], room: int) -> None:
        """Delete checkpoints until `room` bytes fit; never one of `keep`, nor one that lay in the cache before this program."""
        for key, folder in list(self._used.items()):
            if self.has_room(room):
                return
            cache = RepoCache(root=self._cache_folder, hub_id=key[0])
            if key not in keep and cache.was_fetched(folder.name):
                cache.evict(folder.name)
                del self._used[key]

    def _held_bytes(self) -> int:
        return sum(snapshot_bytes(folder) for folder in self._used.values() if folder.is_dir())


def parse_bytes(text: str) -> int:
    """Read a size such as `20GB`, `500M` or `1.5 TiB`.

    >>> parse_bytes("20GB"), parse_bytes("1 KiB")
    (20000000000, 1024)

    Raises:
        UsageError: no size.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", text, re.IGNORECASE)
    if match is None or float(match[1]) <= 0:
        raise UsageError(f"'{text}' is no size", expected="e.g. 20GB")
    power = " kmgt".index(match[2].lower()) if match[2] else 0
    return int(float(match[1]) * (1024 if match[3] else 1000) ** power)
