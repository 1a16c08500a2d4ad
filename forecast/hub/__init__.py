"""Checkpoints on a model hub: pinned, fetched, cached."""

from forecast.hub.cache_limit import parse_bytes
from forecast.hub.fetcher import Fetcher, FetchPreview

__all__ = ["FetchPreview", "Fetcher", "parse_bytes"]
