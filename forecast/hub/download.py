"""One file from the hub into the cache: resumed where it broke off, and kept only when its hash is right."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from forecast.core.errors import HubError
from forecast.core.hashing import file_hash
from forecast.hub.cache import RepoCache
from forecast.hub.failures import MAX_ATTEMPTS, MAX_WAIT_SECONDS, is_transient, retry_after, translate
from forecast.hub.listing import RemoteFile

_CHUNK_BYTES = 1 << 20
_SPARE_BYTES = 64 << 20
"""Space that a download must leave free on the cache's disk."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where to ask, and as whom."""

    endpoint: str
    token: str | None
    timeout_seconds: float
    sleep: Callable[[float], None] = time.sleep


def download_file(
    cache: RepoCache, commit: str, file: RemoteFile, *, source: Source, on_bytes: Callable[[int], None] | None = None
) -> Path:
    """Bring one file into the cache and return the path that shows it.

    The body is appended to `blobs/DIGEST.partial`, also across processes, and moved into place only after its digest agrees.

    Raises:
        HubError: the hub refused or kept failing, the disk is full, or the content is wrong twice.
    """
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]  # exported lazily

    if cache.has(commit, file):
        return cache.show(commit, file)
    blob = cache.blob(file)
    blob.parent.mkdir(parents=True, exist_ok=True)
    lock = cache.root / ".locks" / cache.folder.name / f"{file.digest}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    subject = f"{cache.hub_id}@{commit[:12]} {file.path}"
    with WeakFileLock(lock):
        if not cache.missing(commit, [file]):
            return cache.show(commit, file)
        _check_space(blob.parent, file, subject)
        partial = blob.with_name(blob.name + ".partial")
        for attempt in (1, 2):
            _transfer(cache.hub_id, commit, file, partial, source=source, subject=subject, on_bytes=on_bytes)
            found = _digest_of(partial, file)
            if found == file.digest:
                partial.replace(blob)
                return cache.show(commit, file)
            # Wrong bytes cannot be mended by resuming: start over once, then give up.
            partial.unlink()
            if attempt == 2:
                raise HubError(
                    f"{subject}: the content's hash is {found[:16]}...",
                    expected=f"{file.digest[:16]}...",
                    remedy="the file changed on its way; try again, or report it to the hub",
                )
    raise AssertionError("unreachable: the second attempt returns or raises")


def _check_space(folder: Path, file: RemoteFile, subject: str) -> None:
    import shutil

    free = shutil.disk_usage(folder).free
    if free < file.size + _SPARE_BYTES:
        raise HubError(
            f"{subject} has {file.size:,} bytes, and the cache's disk {free:,} free",
            remedy="free space, set HF_HOME to another disk, or use --cache-limit",
        )


def _transfer(
    hub_id: str,
    commit: str,
    file: RemoteFile,
    partial: Path,
    *,
    source: Source,
    subject: str,
    on_bytes: Callable[[int], None] | None,
) -> None:
    import httpx

    failures = 0
    if on_bytes is not None and partial.is_file():
        on_bytes(partial.stat().st_size)
    while True:
        before = partial.stat().st_size if partial.is_file() else 0
        if before == file.size and partial.is_file():
            return
        try:
            _append_body(hub_id, commit, file, partial, source=source, subject=subject, on_bytes=on_bytes)
            continue
        except (httpx.HTTPError, OSError) as error:
            after = partial.stat().st_size if partial.is_file() else 0
            # Progress earns new patience: a line that drops every gigabyte still delivers.
            failures = 1 if after > before else failures + 1
            asked = retry_after(error)
            if not is_transient(error) or failures >= MAX_ATTEMPTS or (asked or 0.0) > MAX_WAIT_SECONDS:
                raise translate(error, subject=subject, endpoint=source.endpoint) from error
            source.sleep(asked if asked is not None else min(30.0, 0.5 * 2.0**failures))


def _append_body(
    hub_id: str,
    commit: str,
    file: RemoteFile,
    partial: Path,
    *,
    source: Source,
    subject: str,
    on_bytes: Callable[[int], None] | None,
) -> None:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status  # type: ignore[attr-defined]

    url = hf_hub_url(hub_id, file.path, revision=commit, endpoint=source.endpoint)
    headers = build_hf_headers(token=source.token)
    headers["Accept-Encoding"] = "identity"  # positions in the file must be positions in the body
    start = partial.stat().st_size if partial.is_file() else 0
    if start > file.size:
        partial.unlink()
        start = 0
    if start:
        headers["Range"] = f"bytes={start}-"
    with get_session().stream("GET", url, headers=headers, timeout=source.timeout_seconds) as response:
        hf_raise_for_status(response)
        resumed = response.status_code == 206
        if start and not resumed and on_bytes is not None:
            on_bytes(-start)
        with partial.open("ab" if resumed else "wb") as handle:
            for chunk in response.iter_bytes():  # as it comes: what has arrived before a break is kept
                handle.write(chunk)
                if on_bytes is not None:
                    on_bytes(len(chunk))
    size = partial.stat().st_size
    if size > file.size or (size == start and size < file.size):
        partial.unlink()
        raise HubError(f"{subject}: the hub sent {size:,} bytes", expected=f"{file.size:,}", remedy="try again later")


def _digest_of(path: Path, file: RemoteFile) -> str:
    """SHA-256, or git's blob hash where the listing gave that: SHA-1 over `blob SIZE`, a zero byte and the content."""
    if len(file.digest) == 64:
        return file_hash(path)
    digest = hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as handle:
        while chunk := handle.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
