"""What a store already knows, asked before anything is written: a results file that is not there yet knows nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from forecast.core.errors import StoreError
from forecast.evaluation.records import ResultStore


def look_up(store: ResultStore, sql: str) -> list[dict[str, Any]]:
    """Return the rows of a question about records; none where there is no results file yet."""
    try:
        return store.lookup(sql)
    except StoreError:
        return []  # A file that is damaged is reported when it is written to.


def sql_list(texts: Iterable[str]) -> str:
    """Return texts as the inside of SQL's IN (...).

    >>> sql_list(["a", "it's"])
    "'a', 'it''s'"
    """
    return ", ".join("'" + text.replace("'", "''") + "'" for text in texts)
