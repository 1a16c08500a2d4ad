"""Files in the hub's Xet storage, by huggingface_hub's own transfer: ranges in parallel, and shared between models on disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from forecast.hub.cache import RepoCache
from forecast.hub.listing import RemoteFile

if TYPE_CHECKING:
    import httpx


def is_xet_offered(response: httpx.Response) -> bool:
    """Whether the hub says that a file lies in Xet storage, and hf_xet is there and not switched off."""
    from huggingface_hub import constants

    if constants.HF_HUB_DISABLE_XET or find_spec("hf_xet") is None:
        return False
    name = constants.HUGGINGFACE_HEADER_X_XET_HASH
    # The hub says so along with its redirection to the plain content.
    return any(name in answer.headers for answer in (*response.history, response))


def fetch_by_xet(
    cache: RepoCache,
    commit: str,
    file: RemoteFile,
    *,
    endpoint: str,
    token: str | None,
    timeout_seconds: float,
    on_bytes: Callable[[int], None],
    anew: bool,
) -> bool:
    """Bring a file into the snapshot by the library, unchecked; return whether this process did so, rather than another one.

    Args:
        cache: the model's part of the cache.
        commit: where the file is taken from.
        file: the file.
        endpoint: the hub's address.
        token: access token.
        timeout_seconds: longest silence of the hub; the storage's own patience is hf_xet's.
        on_bytes: told of bytes as they are written.
        anew: replace what the cache (and its shared store) holds under the file's name.

    Raises:
        Exception: whatever the library and its compiled part raise; the bytes told to `on_bytes` are taken back.
    """
    from huggingface_hub import hf_hub_download

    target = cache.snapshot(commit) / file.path
    started, counted = time.time(), 0

    def count(size: int) -> None:
        nonlocal counted
        counted += size
        on_bytes(size)

    # The library takes whatever bears the name for the file.
    target.unlink(missing_ok=True)
    try:
        hf_hub_download(
            cache.hub_id,
            file.path,
            revision=commit,
            cache_dir=cache.root,
            endpoint=endpoint,
            token=token,
            etag_timeout=timeout_seconds,
            force_download=anew,
            tqdm_class=_counting_bar(count),
        )
    except Exception:
        on_bytes(-counted)
        raise
    # Without a transfer it is ours if its content lay in the shared store before.
    return counted > 0 or target.stat().st_mtime < started


def _counting_bar(count: Callable[[int], None]) -> type[Any]:
    """Return a bar that shows nothing and counts what is written."""
    from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]  # exported lazily

    class CountingBar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> None:
            count(int(n or 0))

        def update_transfer(self, n: float | None = 1) -> None:
            """Ignore what came over the network: the library would else open a second bar for it."""

        def set_transfer_postfix_str(self, *args: Any, **kwargs: Any) -> None:
            """Show nothing."""

    return CountingBar
