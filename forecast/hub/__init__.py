"""Checkpoints on a model hub: pinned, fetched, cached."""
