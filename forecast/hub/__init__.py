"""Checkpoints on a model hub: pinned, fetched, cached."""

from forecast.hub.fetcher import Fetcher, FetchPreview, parse_bytes

__all__ = ["FetchPreview", "Fetcher", "parse_bytes"]
