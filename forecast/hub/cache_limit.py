"""How much downloaded checkpoints may hold, and which of them go first."""

from __future__ import annotations

import re
from collections.abc import Set
from contextlib import ExitStack, suppress
from pathlib import Path

from forecast.core.errors import UsageError
from forecast.hub.cache import RepoCache

CacheEntry = tuple[str, str]
"""Hub id and commit."""
_COMMIT = re.compile(r"[0-9a-f]{40,64}")


class CacheShelf:
    """The checkpoints that a limit concerns, in order of their use; the oldest one goes first."""

    def __init__(self, cache_folder: Path, *, limit_bytes: int | None) -> None:
        """Start with what earlier runs under a limit have left; with nothing where `limit_bytes` is None."""
        self.limit_bytes = limit_bytes
        self._cache_folder = cache_folder
        self._used: dict[CacheEntry, None] = dict.fromkeys(_leftovers(cache_folder) if limit_bytes is not None else ())
        self._held: dict[CacheEntry, ExitStack] = {}

    def claim(self, entry: CacheEntry, *, is_complete: bool) -> None:
        """Keep a checkpoint from being deleted: for good without a limit, otherwise until it is released.

        To be called inside the cache's gate. A complete one of which this program has noted nothing needs no claim.
        """
        ledger = self._cache(entry).ledger(entry[1])
        if is_complete and not ledger.exists():
            return
        if self.limit_bytes is None:
            with suppress(OSError):  # a cache that cannot be written
                ledger.keep()
        elif entry not in self._held:
            self._held[entry] = ledger.hold()

    def use(self, entry: CacheEntry) -> None:
        """Record that a checkpoint is in use."""
        self._used.pop(entry, None)
        self._used[entry] = None

    def release(self, entry: CacheEntry) -> None:
        """Give the claim on a checkpoint up."""
        if entry in self._held:
            self._held.pop(entry).close()

    def release_used(self, *, but: CacheEntry) -> None:
        """Give up the claims on all that has been used so far, but for one that is about to be used again."""
        for entry in list(self._used):
            if entry != but:
                self.release(entry)

    def could_hold(self, needed_bytes: int) -> bool:
        """Whether so much fits at all."""
        return self.limit_bytes is None or needed_bytes <= self.limit_bytes

    def has_room(self, needed_bytes: int) -> bool:
        """Whether this many bytes fit within the limit, in addition to what is held now."""
        return self.limit_bytes is None or self._held_bytes() + needed_bytes <= self.limit_bytes

    def evict(self, *, keep: Set[CacheEntry], room: int) -> bool:
        """Delete checkpoints until `room` bytes fit; never one of `keep`, nor what did not come under a limit.

        Returns:
            False where a model that had to go could not be deleted, so that there is still not enough room.
        """
        refused = False
        for entry in list(self._used):
            if self.has_room(room):
                return True
            if entry in keep or entry in self._held:
                continue
            if self._cache(entry).evict(entry[1]):
                del self._used[entry]
            else:
                refused = True
        return not refused or self.has_room(room)

    def _cache(self, entry: CacheEntry) -> RepoCache:
        return RepoCache(root=self._cache_folder, hub_id=entry[0])

    def _held_bytes(self) -> int:
        # Revisions and models may show the same blob, which counts once.
        blobs: dict[Path, int] = {}
        for entry in {*self._used, *self._held}:
            for path in self._cache(entry).ledger(entry[1]).brought().values():
                with suppress(OSError):
                    blobs[path.resolve()] = path.stat().st_size
        return sum(blobs.values())


def _leftovers(cache_folder: Path) -> list[CacheEntry]:
    """What runs under a limit brought and did not come to delete, oldest first."""
    found = []
    for path in cache_folder.glob("models--*/.forecast/*"):
        if _COMMIT.fullmatch(path.name):
            hub_id = path.parent.parent.name.removeprefix("models--").replace("--", "/")
            with suppress(OSError):
                found.append((path.stat().st_mtime_ns, hub_id, path.name))
    return [(hub_id, commit) for _, hub_id, commit in sorted(found)]


def parse_bytes(text: str) -> int:
    """Read a size such as `20GB`, `500M` or `1.5 TiB`.

    >>> parse_bytes("20GB"), parse_bytes("1 KiB")
    (20000000000, 1024)

    Raises:
        UsageError: not a size.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", text, re.IGNORECASE)
    if match is None or float(match[1]) <= 0:
        raise UsageError(f"'{text}' is not a size", expected="e.g. 20GB")
    power = " kmgt".index(match[2].lower()) if match[2] else 0
    return int(float(match[1]) * (1024 if match[3] else 1000) ** power)
