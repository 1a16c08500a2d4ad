"""Downloads checkpoints ahead of time, for machines without a network; or says what that would mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from forecast.core.errors import ForecastError, HubError, PartialResultError, UsageError
from forecast.core.progress import Progress, SilentProgress
from forecast.core.records import CheckpointRequest
from forecast.hub import Fetcher, FetchPreview
from forecast.hub.failures import HubUnreachableError

FetchStatus = Literal["present", "fetched", "to fetch", "failed"]


@dataclass(frozen=True, kw_only=True)
class FetchedCheckpoint:
    """One checkpoint of a fetch."""

    model: str
    source: str
    revision: str
    revision_sha: str
    """Commit that the revision stands for; empty for a folder or a failure."""
    status: FetchStatus
    total_bytes: int
    downloaded_bytes: int
    """Downloaded by this command, or by a dry run's reckoning to be downloaded."""
    weights: str
    """`safetensors`, `pickled`, `cached` (complete, the hub was not asked) or `local`."""
    folder: str
    """Where it lies; empty where nothing was fetched."""
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class FetchReport:
    """What a fetch did."""

    checkpoints: tuple[FetchedCheckpoint, ...]

    def raise_failures(self) -> None:
        """Raise what went wrong, if anything did.

        Raises:
            PartialResultError: some checkpoints failed; the others are there.
            HubError: all of them failed.
        """
        failed = [entry for entry in self.checkpoints if entry.status == "failed"]
        if not failed:
            return
        # The message of a failure names its checkpoint itself.
        text = "; ".join(dict.fromkeys(entry.error for entry in failed))
        if len(failed) == len(self.checkpoints):
            raise HubError(text)
        raise PartialResultError(f"{len(failed)} of {len(self.checkpoints)} checkpoints failed: {text}")


def fetch_checkpoints(
    requests: Sequence[CheckpointRequest], *, fetcher: Fetcher, dry_run: bool = False, progress: Progress | None = None
) -> FetchReport:
    """Fetch checkpoints one after the other; one that fails does not stop the others, a silent hub does.

    Raises:
        UsageError: nothing to fetch.
    """
    if not requests:
        raise UsageError("no checkpoints", expected="at least one")
    progress = progress or SilentProgress()
    done: list[FetchedCheckpoint] = []
    with progress.stage("looking up" if dry_run else "checkpoints", len(requests)) as stage:
        for request in requests:
            stage.describe(_name(request))
            try:
                done.append(_fetch_one(request, fetcher, dry_run=dry_run))
            except HubUnreachableError as error:
                # The others would wait for the same silence.
                untried = len(requests) - len(done) - 1
                left = f"{untried} more checkpoint{'' if untried == 1 else 's'} not tried" if untried else ""
                done.append(_failed(request, "; ".join(part for part in (str(error), left) if part)))
                break
            except ForecastError as error:
                done.append(_failed(request, str(error)))
                if len(requests) > 1:  # of a single one, the command's last line says the same
                    progress.notice(str(error))
            stage.advance()
    return FetchReport(checkpoints=tuple(done))


def _fetch_one(request: CheckpointRequest, fetcher: Fetcher, *, dry_run: bool) -> FetchedCheckpoint:
    preview = fetcher.preview(request)
    if dry_run:
        return _row(preview, status="to fetch" if preview.missing_bytes else "present", folder="")
    folder = fetcher.fetch(request)
    return _row(preview, status="fetched" if preview.missing_bytes else "present", folder=str(folder))


def _row(preview: FetchPreview, *, status: FetchStatus, folder: str) -> FetchedCheckpoint:
    request = preview.request
    return FetchedCheckpoint(
        model=request.model or request.source,
        source=request.source,
        revision=request.revision,
        revision_sha=str(request.metadata.get("revision_sha") or ""),
        status=status,
        total_bytes=preview.total_bytes,
        downloaded_bytes=preview.missing_bytes,
        weights=preview.weights,
        folder=folder,
    )


def _failed(request: CheckpointRequest, error: str) -> FetchedCheckpoint:
    return FetchedCheckpoint(
        model=request.model or request.source,
        source=request.source,
        revision=request.revision,
        revision_sha="",
        status="failed",
        total_bytes=0,
        downloaded_bytes=0,
        weights="",
        folder="",
        error=error,
    )


def _name(request: CheckpointRequest) -> str:
    return f"{request.model or request.source} {request.revision}".strip()
