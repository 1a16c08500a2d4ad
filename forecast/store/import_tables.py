"""A table that is imported again: what is new in it, what changed, and what it no longer says.

A table is known by its resolved path. Another path with the same rows is recognised and stored once; another path with other
rows is another source, however alike the files' names are. Files of earlier versions know tables by their names alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb

from forecast.core.observation_tables import CONTENT_COLUMNS


@dataclass(frozen=True, kw_only=True)
class TableChange:
    """What became of a table's rows."""

    rows: int
    added: int
    replaced: int
    """Rows that say something else of a checkpoint and task than the table's earlier version."""
    unchanged: int
    removed: int
    """Rows of the earlier version that the table no longer has."""
    same_as: str = ""
    """Another source that holds exactly these rows: then nothing was added."""
    left_by_name: int = 0
    """Rows that an earlier version of this program stored under the file's name alone, and that are kept along with these."""


_PLACE = ("definition", "family", "model", "revision", "step", "task", "num_fewshot", "tokens", "params", "flops")
"""What of a row says where it belongs; with the source, the partition of the view `current_imports`."""
_PLACES = ", ".join(_PLACE)
_SAME_PLACE = " AND ".join(f"one.{name} IS NOT DISTINCT FROM two.{name}" for name in _PLACE)
_SAID = ", ".join(name for name in CONTENT_COLUMNS.names if name != "source")


def take_table(connection: duckdb.DuckDBPyConnection, source: str, file: str, batch: int) -> TableChange:
    """Make `source` say what the Parquet `file` (a SQL literal) says; the caller holds the transaction."""
    connection.execute(f"CREATE OR REPLACE TEMP VIEW incoming AS FROM read_parquet({file})")
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE known AS
        SELECT observation_id, {_PLACES}, false AS elsewhere FROM current_imports WHERE source = $source""",
        {"source": source},
    )
    rows = _count(connection, "FROM temp.incoming")
    fresh = _count(connection, "FROM temp.incoming AS new WHERE NOT EXISTS (FROM temp.known AS old WHERE " + _SAME_ID + ")")
    gone = _count(connection, "FROM temp.known") - (rows - fresh)
    if not fresh and not gone:
        return TableChange(rows=rows, added=0, replaced=0, unchanged=rows, removed=0)
    by_name = Path(source).name
    twin = _twin(connection, source, by_name, rows)
    if twin:
        _withdraw(connection, "FROM temp.known", batch)
        removed = _count(connection, "FROM temp.known")
        return TableChange(rows=rows, added=0, replaced=0, unchanged=rows, removed=removed, same_as=twin)
    taken_over, left = _take_over(connection, by_name) if by_name != source else (0, 0)
    connection.execute(_DIFFERENCES)
    _withdraw(connection, "FROM temp.gone", batch)
    connection.execute(_INSERT, {"batch": batch})
    gone = _count(connection, "FROM temp.gone")
    matched = connection.execute(_MATCHED).fetchone()
    # Rows that only moved to the table's path are on both sides, and each matches itself.
    pairs = int(matched[0]) if matched else 0
    return TableChange(
        rows=rows,
        added=fresh - pairs,
        replaced=pairs - taken_over,
        unchanged=rows - fresh + taken_over,
        removed=gone - pairs,
        left_by_name=left,
    )


_SAME_ID = "old.observation_id = new.observation_id"

_DIFFERENCES = f"""
CREATE OR REPLACE TEMP TABLE fresh AS
SELECT observation_id, {_PLACES} FROM temp.incoming AS new WHERE NOT EXISTS (
    FROM temp.known AS old WHERE {_SAME_ID} AND NOT old.elsewhere
);
CREATE OR REPLACE TEMP TABLE gone AS
SELECT observation_id, {_PLACES} FROM temp.known AS old
WHERE old.elsewhere OR NOT EXISTS (FROM temp.incoming AS new WHERE {_SAME_ID});
"""

# A row that stays must not look older than a new one beside it: of one place, the view shows the latest batch alone.
_INSERT = f"""
INSERT INTO imported_observations BY NAME
SELECT new.*, $batch AS batch
FROM temp.incoming AS new
WHERE observation_id IN (
    SELECT observation_id FROM temp.fresh
    UNION ALL
    SELECT one.observation_id FROM temp.known AS one
    JOIN (SELECT DISTINCT {_PLACES} FROM temp.fresh) AS two ON {_SAME_PLACE}
    WHERE NOT one.elsewhere
)
"""

_MATCHED = f"""
SELECT coalesce(sum(least(n_fresh, n_gone)), 0)
FROM (
    SELECT count(*) FILTER (is_fresh) AS n_fresh, count(*) FILTER (NOT is_fresh) AS n_gone
    FROM (SELECT {_PLACES}, true AS is_fresh FROM temp.fresh UNION ALL SELECT {_PLACES}, false FROM temp.gone)
    GROUP BY {_PLACES}
)
"""


def _count(connection: duckdb.DuckDBPyConnection, query: str, source: str | None = None) -> int:
    row = connection.execute(f"SELECT count(*) {query}", {} if source is None else {"source": source}).fetchone()
    return int(row[0]) if row else 0


def _withdraw(connection: duckdb.DuckDBPyConnection, query: str, batch: int) -> None:
    connection.execute(f"INSERT INTO withdrawn_observations SELECT DISTINCT observation_id, $batch {query}", {"batch": batch})


def _twin(connection: duckdb.DuckDBPyConnection, source: str, by_name: str, rows: int) -> str:
    """Return another source that says exactly what the incoming table says."""
    candidates = connection.execute(
        "SELECT source FROM current_imports WHERE source NOT IN ($source, $name) GROUP BY source HAVING count(*) = $rows"
        " ORDER BY source",
        {"source": source, "name": by_name, "rows": rows},
    ).fetchall()
    return next((str(name) for (name,) in candidates if _shared(connection, str(name)) == rows), "")


def _shared(connection: duckdb.DuckDBPyConnection, source: str) -> int:
    return _count(
        connection,
        f"FROM (SELECT {_SAID} FROM temp.incoming INTERSECT SELECT {_SAID} FROM current_imports WHERE source = $source)",
        source,
    )


def _take_over(connection: duckdb.DuckDBPyConnection, by_name: str) -> tuple[int, int]:
    """Count rows stored under the file's name alone as known of this table, if it can be seen to be the same table.

    Two tables in different folders may have shared that name, so only rows at the places of incoming ones are taken, and
    only where some row is the very same. Return how many are the same, and how many stay as they are.
    """
    stored = _count(connection, "FROM current_imports WHERE source = $source", by_name)
    same = _shared(connection, by_name) if stored else 0
    if same:
        connection.execute(
            f"""INSERT INTO temp.known SELECT observation_id, {_PLACES}, true FROM current_imports AS one
            WHERE source = $source AND EXISTS (FROM temp.incoming AS two WHERE {_SAME_PLACE})""",
            {"source": by_name},
        )
    taken = _count(connection, "FROM temp.known WHERE elsewhere")
    return same, stored - taken
