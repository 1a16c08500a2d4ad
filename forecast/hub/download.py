"""One file from the hub into the cache, by the faster way that the hub offers, and kept only when its hash is right."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from forecast.core.errors import HubError
from forecast.core.hashing import file_hash
from forecast.hub.cache import RepoCache
from forecast.hub.failures import first_line, translate_disk
from forecast.hub.http_transfer import Source, XetOfferedError, fetch_by_http
from forecast.hub.ledger import Ledger
from forecast.hub.listing import RemoteFile
from forecast.hub.xet_transfer import fetch_by_xet

_CHUNK_BYTES = 1 << 20
_SPARE_BYTES = 64 << 20
"""Space that a download must leave free on the cache's disk."""
_NOTICED_SECONDS = 5.0
"""A pause that a user would wonder about."""
_STALE_SECONDS = 3600.0
"""A transfer writes more often than this."""


def download_file(
    cache: RepoCache,
    commit: str,
    file: RemoteFile,
    *,
    source: Source,
    on_bytes: Callable[[int], None],
    ledger: Ledger | None,
) -> Path:
    """Bring one file into the cache, note it in the ledger, and return the path that shows it.

    What lies in Xet storage comes by huggingface_hub's own transfer. Anything else, and what that transfer fails at, comes by
    plain HTTP: the body is appended to `blobs/DIGEST.partial`, also across processes, and moved into place only after its
    digest agrees. huggingface_hub's plain transfer deletes what is there when it breaks off, sleeps unseen as long as a hub
    asks, and checks no hash: it cannot take this one's place.

    Raises:
        HubError: the hub refused or kept failing, the disk is full or cannot be written, or the content is wrong twice.
    """
    subject = f"{cache.hub_id}@{commit[:12]} {file.path}"
    try:
        is_ours = not cache.has(commit, file) and _bring(cache, commit, file, source=source, subject=subject, on_bytes=on_bytes)
    except OSError as error:
        raise translate_disk(error, subject=subject) from error
    if ledger is not None and is_ours:
        with contextlib.suppress(OSError):  # what is not noted is never deleted
            ledger.record(file.path)
    return cache.snapshot(commit) / file.path


def _bring(
    cache: RepoCache, commit: str, file: RemoteFile, *, source: Source, subject: str, on_bytes: Callable[[int], None]
) -> bool:
    """Return whether this process put the file into the snapshot."""
    try:
        return _by_http(cache, commit, file, source=source, subject=subject, on_bytes=on_bytes, may_use_xet=True)
    except XetOfferedError:
        # Here the file's lock is free again, which the library takes itself.
        is_ours = _by_xet(cache, commit, file, source=source, subject=subject, on_bytes=on_bytes)
    if is_ours is None:
        return _by_http(cache, commit, file, source=source, subject=subject, on_bytes=on_bytes, may_use_xet=False)
    return is_ours


def _by_xet(
    cache: RepoCache, commit: str, file: RemoteFile, *, source: Source, subject: str, on_bytes: Callable[[int], None]
) -> bool | None:
    """Like `_bring`, but None where the transfer failed and the plain one should be tried."""
    for attempt in (1, 2):
        try:
            is_ours = fetch_by_xet(
                cache,
                commit,
                file,
                endpoint=source.endpoint,
                token=source.token,
                timeout_seconds=source.timeout_seconds,
                on_bytes=on_bytes,
                anew=attempt == 2 or cache.blob(file).exists(),  # one that is there was found wrong
            )
        except Exception as error:  # noqa: BLE001  the compiled part raises what it likes, and the plain way is still open
            if attempt == 2:
                break
            source.notice(f"{subject}: the transfer from Xet storage failed ({first_line(error)}); fetching it by plain HTTP")
            return None
        found = _digest_of(cache.snapshot(commit) / file.path, file)
        if found == file.digest:
            return is_ours
        # Also out of the store that models share: nobody else may take it for the file.
        cache.discard(commit, file)
        on_bytes(-file.size)
    cache.quarantine(file)
    raise _wrong_content(subject, found, file)


def _by_http(
    cache: RepoCache,
    commit: str,
    file: RemoteFile,
    *,
    source: Source,
    subject: str,
    on_bytes: Callable[[int], None],
    may_use_xet: bool,
) -> bool:
    """See `_bring`."""
    blob = cache.blob(file)
    partial = blob.with_name(blob.name + ".partial")
    blob.parent.mkdir(parents=True, exist_ok=True)
    with _file_lock(cache, file, source=source, subject=subject):
        if cache.has(commit, file):
            return False
        # What another revision shows was not checked by this program, or not for this use.
        if not cache.missing(commit, [file]) and _digest_of(blob, file) == file.digest:
            with cache.gate():
                if not cache.missing(commit, [file]):
                    return cache.show(commit, file)
        _remove_remains(blob)
        _check_space(partial, file, subject)
        for _ in (1, 2):
            fetch_by_http(
                cache.hub_id,
                commit,
                file,
                partial,
                source=source,
                subject=subject,
                on_bytes=on_bytes,
                may_use_xet=may_use_xet,
            )
            found = _digest_of(partial, file)
            if found == file.digest:
                with cache.gate():
                    partial.replace(blob)
                    return cache.show(commit, file, is_new=True)
            # Wrong bytes cannot be mended by resuming: start over once, then give up.
            partial.unlink()
            on_bytes(-file.size)
            may_use_xet = False
    raise _wrong_content(subject, found, file)


@contextlib.contextmanager
def _file_lock(cache: RepoCache, file: RemoteFile, *, source: Source, subject: str) -> Iterator[None]:
    """Let one process at a time fetch a file; huggingface_hub takes the same lock for large files."""
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]  # exported lazily

    path = cache.root / ".locks" / cache.folder.name / f"{file.digest}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(WeakFileLock(path, timeout=_NOTICED_SECONDS))
        except TimeoutError:
            source.notice(f"{subject}: another process is fetching this file; waiting for it to end ({path})")
            stack.enter_context(WeakFileLock(path))
        yield


def _remove_remains(blob: Path) -> None:
    """Delete what killed transfers of the library left of this file: no program can resume it.

    The lock says that nobody is fetching the file, and their age says so again where a file system has no real locks.
    """
    for path in blob.parent.glob(f"{blob.name}.*.incomplete"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                path.unlink()


def _check_space(partial: Path, file: RemoteFile, subject: str) -> None:
    free = shutil.disk_usage(partial.parent).free
    missing = file.size - (partial.stat().st_size if partial.is_file() else 0)
    if free < missing + _SPARE_BYTES:
        raise HubError(
            f"{subject}: {missing:,} bytes are missing, and the cache's disk has {free:,} free",
            remedy="free space, set HF_HOME to another disk, or use `cache_limit=` of 'forecast eval'",
        )


def _wrong_content(subject: str, found: str, file: RemoteFile) -> HubError:
    """Say that a file's content is not what the hub's listing promises."""
    return HubError(
        f"{subject}: the content's hash is {found[:16]}...",
        expected=f"{file.digest[:16]}...",
        remedy="the file changed on its way; try again, or report it to the hub",
    )


def _digest_of(path: Path, file: RemoteFile) -> str:
    """SHA-256, or git's blob hash where the listing gave that: SHA-1 over `blob SIZE`, a zero byte and the content."""
    if len(file.digest) == 64:
        return file_hash(path)
    digest = hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as handle:
        while chunk := handle.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
