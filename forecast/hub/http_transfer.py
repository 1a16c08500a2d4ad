"""A file's body by plain HTTP, resumed where it broke off, with the patience that the hub asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from forecast.core.errors import HubError
from forecast.hub.failures import MAX_ATTEMPTS, MAX_WAIT_SECONDS, is_transient, retry_after, translate
from forecast.hub.listing import RemoteFile
from forecast.hub.xet_transfer import is_xet_offered


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where to ask, and as whom."""

    endpoint: str
    token: str | None
    timeout_seconds: float
    sleep: Callable[[float], None]
    notice: Callable[[str], None]


class XetOfferedError(Exception):
    """The hub keeps the file in Xet storage, from where huggingface_hub fetches it faster."""


def fetch_by_http(
    hub_id: str,
    commit: str,
    file: RemoteFile,
    partial: Path,
    *,
    source: Source,
    subject: str,
    on_bytes: Callable[[int], None],
    may_use_xet: bool,
) -> None:
    """Bring a file's body into `partial`, going on where it ends; the content is not checked.

    Raises:
        XetOfferedError: the file lies in Xet storage, `may_use_xet`, and nothing of it is there yet.
        HubError: the hub refused or kept failing.
        OSError: the disk did.
    """
    import httpx

    failures = 0
    if partial.is_file():
        on_bytes(partial.stat().st_size)
    while True:
        before = partial.stat().st_size if partial.is_file() else 0
        if before == file.size and partial.is_file():
            return
        try:
            _append_body(
                hub_id, commit, file, partial, source=source, subject=subject, on_bytes=on_bytes, may_use_xet=may_use_xet
            )
            continue
        except httpx.HTTPError as error:
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
    on_bytes: Callable[[int], None],
    may_use_xet: bool,
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
        # Bytes that are there already are not thrown away for a faster way.
        if may_use_xet and not start and is_xet_offered(response):
            raise XetOfferedError
        resumed = response.status_code == 206
        if start and not resumed:
            on_bytes(-start)
        with partial.open("ab" if resumed else "wb") as handle:
            for chunk in response.iter_bytes():  # as it comes: what has arrived before a break is kept
                handle.write(chunk)
                on_bytes(len(chunk))
    size = partial.stat().st_size
    if size > file.size or (size == start and size < file.size):
        partial.unlink()
        raise HubError(f"{subject}: the hub sent {size:,} bytes", expected=f"{file.size:,}", remedy="try again later")
