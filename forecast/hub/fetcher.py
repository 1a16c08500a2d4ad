"""Brings requested checkpoints onto the disk: pinned to a commit, the next one while the current one is scored."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

from forecast.core.errors import HubError
from forecast.core.progress import Progress, SilentProgress
from forecast.core.records import CheckpointRequest
from forecast.hub.background import BackgroundDownload
from forecast.hub.cache import RepoCache, default_cache_folder, present_bytes, snapshot_bytes
from forecast.hub.cache_limit import CacheEntry, CacheShelf
from forecast.hub.download import download_file
from forecast.hub.failures import MAX_ATTEMPTS, HubUnreachableError, call
from forecast.hub.http_transfer import Source
from forecast.hub.listing import Listing, Needed, choose_files, make_listing

CheckpointKey = tuple[str, str]
"""Hub id and revision."""
_NOTICED_SECONDS = 5.0
"""A pause that a user would wonder about."""


@dataclass(frozen=True, kw_only=True)
class FetchPreview:
    """What fetching a checkpoint would mean."""

    request: CheckpointRequest
    """Pinned to its commit."""
    total_bytes: int
    present_bytes: int
    """Part of `total_bytes` that is already on this disk."""
    files: int
    weights: str
    """`safetensors`, `pickled`, or `local` for a folder."""

    @property
    def missing_bytes(self) -> int:
        """Bytes still to be downloaded."""
        return self.total_bytes - self.present_bytes


class Fetcher:
    """Pins and fetches checkpoints; local folders pass through untouched.

    HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE and HF_HUB_DOWNLOAD_TIMEOUT are honoured.
    """

    def __init__(
        self,
        *,
        cache_folder: Path | None = None,
        endpoint: str | None = None,
        token: str | None = None,
        cache_limit_bytes: int | None = None,
        trust_remote_code: Sequence[str] = (),
        progress: Progress | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare, without reaching for the network.

        Args:
            cache_folder: folder of the hub's cache; HF_HOME's when not given.
            endpoint: the hub's address; HF_ENDPOINT's when not given.
            token: access token; HF_TOKEN's when not given.
            cache_limit_bytes: most that checkpoints downloaded under a limit may hold; what is scored is evicted first. What is
                fetched without a limit stays.
            trust_remote_code: hub ids (and folders) whose own Python files may be fetched and run.
            progress: where to say what is being fetched.
            sleep: how to wait between attempts.
        """
        from huggingface_hub import constants

        self._cache_folder = cache_folder or default_cache_folder()
        self._source = Source(
            endpoint=(endpoint or constants.ENDPOINT).rstrip("/"),
            token=token,
            timeout_seconds=float(constants.HF_HUB_DOWNLOAD_TIMEOUT),
            sleep=self._wait,
            notice=lambda text: self._progress.notice(text),
        )
        self._sleep = sleep
        self._shelf = CacheShelf(self._cache_folder, limit_bytes=cache_limit_bytes)
        self._trusted = frozenset({*trust_remote_code, *(str(Path(name).expanduser()) for name in trust_remote_code)})
        self._progress = progress or SilentProgress()
        self._plan: list[CheckpointRequest] = []
        self._skip: Callable[[CheckpointRequest], bool] = _fetch_all
        self._background: dict[CheckpointKey, BackgroundDownload] = {}
        self._pinned: dict[CheckpointKey, tuple[str, Needed | None]] = {}
        self._lock = threading.Lock()
        self._has_said_full = False
        self._is_silent = False
        """The hub did not answer the last question: until it does, it is asked only once, and the notice is not repeated."""

    def _wait(self, seconds: float) -> None:
        if seconds >= _NOTICED_SECONDS:
            self._progress.notice(f"{self._source.endpoint} is busy: waiting {seconds:.0f} s")
        self._sleep(seconds)

    def plan(self, requests: Sequence[CheckpointRequest], *, skip: Callable[[CheckpointRequest], bool] | None = None) -> None:
        """Say in which order checkpoints will be fetched, so that each next one is fetched ahead.

        Args:
            requests: the checkpoints in their order.
            skip: told a pinned request, whether it will not be fetched after all.
        """
        self._plan = list(requests)
        self._skip = skip or _fetch_all

    def trusts(self, request: CheckpointRequest) -> bool:
        """Whether the user named this very model (or folder) as one whose own Python files may run."""
        return request.source in self._trusted

    def resolve(self, request: CheckpointRequest) -> CheckpointRequest:
        """Return the request with its commit in `metadata["revision_sha"]`; a local folder is returned as it is.

        Raises:
            HubError: the model or revision does not exist, may not be read, or cannot be reached.
        """
        if is_local(request):
            return request
        commit, _ = self._pin(request)
        return replace(request, metadata={**request.metadata, "revision_sha": commit})

    def fetch(self, request: CheckpointRequest) -> Path:
        """Return the folder of a checkpoint, downloading what is missing; the next one of the plan follows in the background.

        Whatever was fetched before is taken for scored: with a cache limit, it may be evicted from here on.

        Raises:
            HubError: as `resolve`, or the download failed.
        """
        key = _key(request)
        with self._lock:
            background = self._background.pop(key, None)
        commit, _ = self._pinned.get(key, ("", None))
        self._shelf.release_used(but=(request.source, commit))
        in_use: set[CacheEntry] = set()
        if is_local(request):
            folder = Path(request.source)
        else:
            folder = self._bring(request, background)
            in_use.add((request.source, folder.name))
            self._shelf.use((request.source, folder.name))
        self._evict(keep=in_use, room=0)
        following = self._next_after(request)
        if following is not None:
            self.prefetch(following)
        return folder

    def _bring(self, request: CheckpointRequest, background: BackgroundDownload | None) -> Path:
        try:
            if background is not None:
                return background.wait()
            self._make_room(request)
            return self._download(request, self._progress)
        except BaseException:
            commit, _ = self._pinned.get(_key(request), ("", None))
            self._shelf.release((request.source, commit))
            raise

    def prefetch(self, request: CheckpointRequest) -> None:
        """Start fetching in the background, unless the cache limit has no room in addition to what is in use."""
        key = _key(request)
        with self._lock:
            if is_local(request) or key in self._background or not self._has_room(request):
                return
            if self._shelf.limit_bytes is not None:
                try:
                    # By the thread that will give the claim up again.
                    self._claim(request)
                except HubError:
                    # Its turn will report it.
                    return
            self._background[key] = BackgroundDownload(lambda: self._download(request, SilentProgress()))

    def preview(self, request: CheckpointRequest) -> FetchPreview:
        """Say what fetching would download, without doing it.

        Raises:
            HubError: as `resolve`.
        """
        if is_local(request):
            size = snapshot_bytes(Path(request.source))
            return FetchPreview(request=request, total_bytes=size, present_bytes=size, files=0, weights="local")
        pinned = self.resolve(request)
        commit, needed = self._pin(request)
        cache = self._cache(request)
        if needed is None:
            size = snapshot_bytes(cache.snapshot(commit))
            return FetchPreview(request=pinned, total_bytes=size, present_bytes=size, files=0, weights="cached")
        listing = Listing(hub_id=request.source, commit=commit, files=needed.files)
        return FetchPreview(
            request=pinned,
            total_bytes=needed.total_bytes,
            present_bytes=present_bytes(cache, listing, needed.files),
            files=len(needed.files),
            weights=needed.weights,
        )

    def _cache(self, request: CheckpointRequest) -> RepoCache:
        return RepoCache(root=self._cache_folder, hub_id=request.source)

    def _claim(self, request: CheckpointRequest) -> tuple[str, Needed | None]:
        """Keep what is there, and what will come, from being deleted by another process of this program; as `_pin`."""
        cache = self._cache(request)
        for _ in range(2):
            commit, needed = self._pin(request)
            with cache.gate():
                missing = (
                    cache.complete_snapshot(commit) is None if needed is None else bool(cache.missing(commit, needed.files))
                )
                self._shelf.claim((request.source, commit), is_complete=not missing)
            if needed is not None or not missing:
                break
            # It was complete when it was asked about, and another process has deleted it since.
            self._pinned.pop(_key(request), None)
        return commit, needed

    def _pin(self, request: CheckpointRequest) -> tuple[str, Needed | None]:
        """Commit and needed files; the files are None when only the cache could be asked and it is complete."""
        key = _key(request)
        if key not in self._pinned:
            self._pinned[key] = self._ask(request)
        return self._pinned[key]

    def _ask(self, request: CheckpointRequest) -> tuple[str, Needed | None]:
        from huggingface_hub import HfApi, constants

        cache = self._cache(request)
        cached = cache.complete_snapshot(request.revision)
        if cached is not None and cached.name == request.revision and request.source not in self._trusted:
            # A commit never changes: nothing to ask.
            return cached.name, None
        if constants.is_offline_mode():
            if cached is None:
                raise HubError(
                    f"{_subject(request)} is not complete in {self._cache_folder}, and HF_HUB_OFFLINE forbids fetching it",
                    remedy="run 'forecast fetch' where there is a network, or unset HF_HUB_OFFLINE",
                )
            return cached.name, None
        api = HfApi(endpoint=self._source.endpoint, token=self._source.token)
        try:
            info = call(
                lambda: api.model_info(
                    request.source, revision=request.revision or None, files_metadata=True, timeout=self._source.timeout_seconds
                ),
                subject=_subject(request),
                endpoint=self._source.endpoint,
                sleep=self._source.sleep,
                attempts=1 if self._is_silent else MAX_ATTEMPTS,
            )
        except HubUnreachableError as error:
            if cached is not None and not self._is_silent:
                self._progress.notice(
                    f"{error.found}; using the cache as of its last fetch, commit {cached.name[:12]}; others likewise"
                )
            self._is_silent = True
            if cached is None:
                raise
            return cached.name, None
        self._is_silent = False
        listing = make_listing(request.source, info.sha, info.siblings or [])
        cache.write_ref(request.revision or "main", listing.commit)  # where its snapshot is there
        return listing.commit, choose_files(listing, remote_code=request.source in self._trusted)

    def _download(self, request: CheckpointRequest, progress: Progress) -> Path:
        commit, needed = self._claim(request)
        cache = self._cache(request)
        if needed is None:
            return cache.snapshot(commit)
        ledger = cache.ledger(commit) if self._shelf.limit_bytes is not None else None
        missing = cache.missing(commit, needed.files)
        total = sum(file.size for file in missing)
        # What is there already shows no bar.
        with (progress if missing else SilentProgress()).stage(f"fetching {_subject(request)}", total=total, unit="B") as stage:
            # Weights last: a checkpoint whose weights are complete is complete.
            for file in sorted(needed.files, key=lambda entry: entry.size):
                download_file(cache, commit, file, source=self._source, on_bytes=stage.advance, ledger=ledger)
        cache.write_ref(request.revision or "main", commit)
        return cache.snapshot(commit)

    def _next_after(self, request: CheckpointRequest) -> CheckpointRequest | None:
        """Return the next checkpoint of the plan that will be fetched; one that cannot be pinned will say so in its turn."""
        keys = [_key(entry) for entry in self._plan]
        if _key(request) not in keys:
            return None
        for following in self._plan[keys.index(_key(request)) + 1 :]:
            try:
                if is_local(following) or not self._skip(self.resolve(following)):
                    return following
            except HubError:
                continue
        return None

    def _make_room(self, request: CheckpointRequest) -> None:
        needed = self._missing_bytes(request)
        if not self._shelf.could_hold(needed):
            raise HubError(
                f"{_subject(request)} needs {needed:,} bytes, and `cache_limit=` allows {self._shelf.limit_bytes:,}",
                remedy="raise the limit, or leave this checkpoint out",
            )
        self._evict(keep={(request.source, self._pin(request)[0])}, room=needed)

    def _evict(self, *, keep: Set[CacheEntry], room: int) -> None:
        from huggingface_hub import constants

        if constants.is_offline_mode():
            # Nothing comes, and what is there could not be fetched again.
            return
        if not self._shelf.evict(keep=keep, room=room) and not self._has_said_full:
            self._has_said_full = True
            self._progress.notice(
                "`cache_limit=` is exceeded for now: another process uses what was downloaded under it, or that part of "
                f"{self._cache_folder} is damaged ('hf cache ls' lists what is whole)"
            )

    def _has_room(self, request: CheckpointRequest) -> bool:
        if self._shelf.limit_bytes is None:
            return True
        try:
            return self._shelf.has_room(self._missing_bytes(request))
        except HubError:
            # Let the turn of this checkpoint report it.
            return False

    def _missing_bytes(self, request: CheckpointRequest) -> int:
        commit, needed = self._pin(request)
        return sum(file.size for file in self._cache(request).missing(commit, needed.files)) if needed is not None else 0


def is_local(request: CheckpointRequest) -> bool:
    """Whether a request names a folder on this disk."""
    return Path(request.source).is_dir()


def _fetch_all(_request: CheckpointRequest) -> bool:
    """Skip nothing."""
    return False


def _key(request: CheckpointRequest) -> CheckpointKey:
    return (request.source, request.revision)


def _subject(request: CheckpointRequest) -> str:
    return f"{request.source}@{request.revision}" if request.revision else request.source
