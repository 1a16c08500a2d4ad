"""The results file: spool, DuckDB, views, queries."""

from forecast.store.store import Store

__all__ = ["Store"]
