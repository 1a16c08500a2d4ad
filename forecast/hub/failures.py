"""What went wrong with the hub, said in one line with its remedy; and which failures are worth another try."""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Callable
from typing import TypeVar

from forecast.core.errors import ForecastError, HubError

MAX_ATTEMPTS = 6
CONNECT_ATTEMPTS = 3
"""A hub that cannot even be connected to is mostly a machine without a network: say so soon."""
MAX_WAIT_SECONDS = 300.0
"""A hub that asks for a longer pause than this is taken at its word: the run stops with what it has."""
_TRANSIENT_STATUS = (408, 425, 429, 500, 502, 503, 504)

Result = TypeVar("Result")


class HubUnreachableError(HubError):
    """The hub did not answer at all; what the cache holds may still do."""


def translate(error: Exception, *, subject: str, endpoint: str) -> HubError:
    """Turn a failure of the hub's client into one line; `subject` names the model and revision."""
    import httpx
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return HubError(
            f"{subject} is gated (HTTP {status_of(error)})",
            expected="an account that may read it",
            remedy=f"accept its terms at {endpoint} and set HF_TOKEN",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return HubError(
            f"{subject}: the hub has no such revision", expected="a branch, tag or commit", remedy="check the revision"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return HubError(
            f"{subject}: no such model on {endpoint}, or it is private (HTTP {status_of(error)})",
            expected="a public model, or a token that may read it",
            remedy="check the name, or set HF_TOKEN",
        )
    if isinstance(error, errors.OfflineModeIsEnabled):
        return HubError(
            f"{subject} is not complete in the cache, and HF_HUB_OFFLINE forbids fetching it",
            remedy="run 'forecast fetch' where there is a network, or unset HF_HUB_OFFLINE",
        )
    if isinstance(error, errors.HfHubHTTPError):
        return _translate_status(error, subject, endpoint)
    if isinstance(error, httpx.TimeoutException):
        return HubUnreachableError(
            f"{subject}: {endpoint} stopped answering",
            remedy="run the command again (it resumes), or raise HF_HUB_DOWNLOAD_TIMEOUT",
        )
    if isinstance(error, httpx.HTTPError):
        return HubUnreachableError(
            f"{subject}: {endpoint} cannot be reached ({first_line(error)})",
            remedy="check the network and HF_ENDPOINT, then run the command again (it resumes)",
        )
    return HubError(f"{subject}: {first_line(error)}", expected="a hub that speaks huggingface_hub's protocol")


def _translate_status(error: Exception, subject: str, endpoint: str) -> HubError:
    status = status_of(error)
    if status in (401, 403):
        return HubError(
            f"{subject}: {endpoint} refused access (HTTP {status}); there is no such model, or it is private",
            remedy="check the name, or set HF_TOKEN to a token that may read it",
        )
    if status == 404:
        return HubError(f"{subject}: a file is missing on {endpoint} (HTTP 404)", remedy="check the model and its revision")
    if status == 429:
        wait = retry_after(error)
        asked = f", which asks to wait {wait:.0f} s" if wait is not None else ""
        return HubError(
            f"{subject}: too many requests to {endpoint}{asked}", remedy="wait and run the command again (it resumes)"
        )
    return HubError(f"{subject}: {endpoint} answered HTTP {status}", remedy="try again later (it resumes)")


def translate_disk(error: OSError, *, subject: str) -> HubError:
    """Turn a failure to write into the cache into one line."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return HubError(
            f"{subject}: the disk of the cache is full",
            remedy="free space, set HF_HOME to another disk, or use `cache_limit=` of 'forecast eval'; then run it again "
            "(it resumes)",
        )
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return HubError(
            f"{subject} is not complete in the cache, which cannot be written{where}",
            remedy="set HF_HOME to a folder that can be written",
        )
    return HubError(f"{subject}: the cache's disk failed: {error.strerror}{where}", remedy="check HF_HOME and its disk")


def first_line(error: Exception) -> str:
    """Return what an error says first, or its kind where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def status_of(error: Exception) -> int | None:
    """Return the HTTP status behind an error, if there is one."""
    response = getattr(error, "response", None)
    return getattr(response, "status_code", None)


def retry_after(error: Exception) -> float | None:
    """Return the seconds that the hub asked to wait (Retry-After in seconds, or the reset of its rate limit)."""
    response = getattr(error, "response", None)
    if response is None:
        return None
    header = str(response.headers.get("Retry-After", "")).strip()
    if header.isdigit():
        return float(header)
    # IETF draft form that the hub sends: `RateLimit: "api";r=0;t=55`.
    window = re.search(r"r=0\s*;\s*t=(\d+)", str(response.headers.get("RateLimit", "")))
    return float(window[1]) if window else None


def is_transient(error: Exception) -> bool:
    """Whether another try may succeed."""
    import httpx

    if isinstance(error, httpx.TimeoutException | httpx.NetworkError | httpx.RemoteProtocolError):
        return True
    return status_of(error) in _TRANSIENT_STATUS


def call(
    action: Callable[[], Result],
    *,
    subject: str,
    endpoint: str,
    sleep: Callable[[float], None] = time.sleep,
    attempts: int = MAX_ATTEMPTS,
) -> Result:
    """Run `action`, again after transient failures, and translate what remains.

    Raises:
        HubError: the hub refused, or kept failing for so many attempts, or asked for a pause above MAX_WAIT_SECONDS.
    """
    import httpx

    for attempt in range(1, attempts + 1):
        try:
            return action()
        except ForecastError:
            raise
        except (httpx.HTTPError, OSError, ValueError) as error:
            asked = retry_after(error)
            patience = min(attempts, CONNECT_ATTEMPTS) if isinstance(error, httpx.ConnectError) else attempts
            hopeless = not is_transient(error) or attempt >= patience or (asked or 0.0) > MAX_WAIT_SECONDS
            if hopeless:
                raise translate(error, subject=subject, endpoint=endpoint) from error
            sleep(asked if asked is not None else min(30.0, 0.5 * 2.0**attempt))
    raise AssertionError("unreachable: the last attempt returns or raises")
