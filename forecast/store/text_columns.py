"""Types that neither JSON nor CSV has, as DuckDB's own text: exact, and readable by DuckDB again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import duckdb

from forecast.store.locking import quote_name

_PLAIN = frozenset(
    (
        "boolean",
        "tinyint",
        "smallint",
        "integer",
        "bigint",
        "utinyint",
        "usmallint",
        "uinteger",
        "ubigint",
        "hugeint",
        "decimal",
        "float",
        "double",
        "varchar",
        "uuid",
        "enum",
    )
)
"""What Python holds without loss. Dates are not among them: its calendar ends with the year 9999 and has no infinity."""


def cast_to_text(relation: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
    """Return the relation with its other types as text, inside lists and structs, too; itself where it has none."""
    types = [_text_type(column) for column in relation.types]
    if all(wanted is None for wanted in types):
        return relation
    columns: Iterable[str] = (
        f"#{place}" if wanted is None else f"CAST(#{place} AS {wanted})" for place, wanted in enumerate(types, start=1)
    )
    return relation.project(", ".join(columns))


def _text_type(column: Any) -> str | None:
    """Return the SQL type to cast a column to; None where the column may stay as it is."""
    kind = str(column.id)
    if kind in _PLAIN or str(column) == '"NULL"':
        return None
    if kind in ("list", "array"):
        children = dict(column.children)
        inner = _text_type(children["child"])
        size = children.get("size", "")
        return None if inner is None else f"{inner}[{size}]"
    if kind == "map":
        key, value = (child for _, child in column.children)
        wanted = [_text_type(key), _text_type(value)]
        return None if wanted == [None, None] else f"MAP({wanted[0] or key}, {wanted[1] or value})"
    if kind == "struct":
        fields = [(name, child, _text_type(child)) for name, child in column.children]
        if all(wanted is None for _, _, wanted in fields):
            return None
        return "STRUCT(" + ", ".join(f"{quote_name(name)} {wanted or child}" for name, child, wanted in fields) + ")"
    return "VARCHAR"
