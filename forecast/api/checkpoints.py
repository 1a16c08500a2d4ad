"""Which checkpoints an evaluation or a download is of, and what brings them here."""

from __future__ import annotations

from collections.abc import Sequence

from forecast.core.progress import Progress
from forecast.core.records import CheckpointRequest
from forecast.evaluation.model_names import request_of_backend
from forecast.evaluation.selection import select
from forecast.hub import Fetcher, parse_bytes

__all__ = ["Fetcher", "backend_checkpoint", "open_fetcher", "select"]


def backend_checkpoint(backend: str) -> list[CheckpointRequest]:
    """Return the one model that an lm-eval backend (`lm-eval:NAME,ARGS`) names by itself."""
    return [request_of_backend(backend)]


def open_fetcher(*, progress: Progress, cache_limit: str | None = None, trust_remote_code: str | Sequence[str] = ()) -> Fetcher:
    """Return what brings hub checkpoints to local folders.

    Args:
        progress: where bars and notices go.
        cache_limit: most bytes that downloads may hold, e.g. `20GB`; None for no limit.
        trust_remote_code: hub ids or folders whose own Python files may run.

    Raises:
        UsageError: a limit that is not a number of bytes.
    """
    trusted = [trust_remote_code] if isinstance(trust_remote_code, str) else list(trust_remote_code)
    limit = parse_bytes(cache_limit) if cache_limit else None
    return Fetcher(progress=progress, cache_limit_bytes=limit, trust_remote_code=trusted)
