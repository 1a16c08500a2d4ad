"""From the spool into tables: the same statements fill the results file and a reader's private view of what waits.

Names without a schema are what is already known; `target` is where new rows go. Taking a file in twice changes nothing,
so a crash between the commit and the file's removal is harmless.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from forecast.store.generations import insert_answered
from forecast.store.locking import quote
from forecast.store.spool import SpoolFile, owner_token


@dataclass(frozen=True, kw_only=True)
class Damaged:
    """A spooled file that cannot be read."""

    file: SpoolFile
    reason: str


@dataclass(frozen=True, kw_only=True)
class Ingested:
    """What one pass over spooled files did."""

    done: tuple[SpoolFile, ...]
    """Files whose content is now in the tables (or was before)."""
    damaged: tuple[Damaged, ...]
    rows: int
    """Item results added."""


def ingest(connection: duckdb.DuckDBPyConnection, files: Sequence[SpoolFile], target: str) -> Ingested:
    """Insert the files' content into the tables of `target`; the caller holds the transaction."""
    readable, damaged = _check_readable([file for file in files if file.kind != "shard"])
    by_kind: dict[str, list[SpoolFile]] = {}
    for file in readable:
        by_kind.setdefault(file.kind, []).append(file)
    for kind, insert in _INSERTS.items():
        if kind in by_kind:
            connection.execute(insert.format(target=target, source=_source(by_kind[kind])))
    if "task" in by_kind:
        _insert_tasks(connection, by_kind["task"], target)
    if "run" in by_kind:
        connection.execute(_RUNS.format(target=target, source=_source(by_kind["run"])))
    shards, rows, broken = _insert_shards(connection, [file for file in files if file.kind == "shard"], target)
    return Ingested(done=(*readable, *shards), damaged=(*damaged, *broken), rows=rows)


def _source(files: Sequence[SpoolFile], *, by_name: bool = True) -> str:
    names = ", ".join(quote(str(file.path)) for file in files)
    # Observations of an older program, with fewer columns, may wait beside new ones.
    return f"read_parquet([{names}]{', union_by_name = true' if by_name else ''})"


def undecodable(files: Sequence[SpoolFile]) -> list[Damaged]:
    """Return the files that cannot be decoded to the end; slow, for when taking them in together has failed."""
    damaged = []
    for file in files:
        try:
            pq.read_table(file.path)
        except (OSError, pa.ArrowException) as error:
            damaged.append(Damaged(file=file, reason=str(error).splitlines()[0]))
    return damaged


def _check_readable(files: Sequence[SpoolFile]) -> tuple[list[SpoolFile], list[Damaged]]:
    readable, damaged = [], []
    for file in files:
        try:
            pq.read_metadata(file.path)
        except (OSError, pa.ArrowException) as error:
            damaged.append(Damaged(file=file, reason=str(error).splitlines()[0]))
        else:
            readable.append(file)
    return readable, damaged


# A statement about a checkpoint counts only where it differs from the one before, and is newer.
_CHECKPOINTS = """
INSERT INTO {target}.checkpoint_records BY NAME
SELECT new.* EXCLUDE (previous)
FROM (
    SELECT *, lag(facts_hash) OVER (PARTITION BY checkpoint_id ORDER BY registered_at, facts_hash) AS previous
    FROM {source}
) AS new
LEFT JOIN (
    SELECT checkpoint_id, arg_max(facts_hash, registered_at) AS facts_hash, max(registered_at) AS registered_at
    FROM checkpoint_records
    GROUP BY checkpoint_id
) AS old USING (checkpoint_id)
WHERE new.facts_hash IS DISTINCT FROM coalesce(new.previous, old.facts_hash)
    AND new.registered_at > coalesce(old.registered_at, 0)
"""

_BY_ID = """
INSERT INTO {{target}}.{table} BY NAME
SELECT DISTINCT ON ({key}) *
FROM {{source}} AS new
WHERE NOT EXISTS (FROM {table} AS old WHERE old.{key} = new.{key})
ORDER BY {key}
"""

# An observation imported again keeps its first batch, unless another of its source and place has come in between.
_OBSERVATIONS = """
INSERT INTO {target}.imported_observations BY NAME
SELECT DISTINCT ON (observation_id, batch) *
FROM {source} AS new
WHERE NOT EXISTS (FROM current_imports AS old WHERE old.observation_id = new.observation_id)
    AND NOT EXISTS (
        FROM imported_observations AS old WHERE old.observation_id = new.observation_id AND old.batch = new.batch
    )
"""

_WITHDRAWALS = """
INSERT INTO {target}.withdrawn_observations BY NAME
SELECT DISTINCT observation_id, batch FROM {source}
EXCEPT SELECT observation_id, batch FROM withdrawn_observations
"""

# In this order: an observation that was withdrawn and stated again is taken in only where it counts as withdrawn.
_INSERTS = {
    "checkpoint": _CHECKPOINTS,
    "closing": _BY_ID.format(table="run_closings", key="closing_id"),
    "withdrawal": _WITHDRAWALS,
    "observations": _OBSERVATIONS,
    "fit": _BY_ID.format(table="fits", key="fit_id"),
    "forecast": _BY_ID.format(table="forecast_records", key="forecast_id"),
}

_NEW_TASKS = """
CREATE OR REPLACE TEMP TABLE new_tasks AS
SELECT (SELECT coalesce(max(task_key), 0) FROM task_records) + row_number() OVER (ORDER BY task_id) AS task_key, *
FROM (SELECT DISTINCT ON (task_id) * FROM {source}) AS new
WHERE NOT EXISTS (FROM task_records AS old WHERE old.task_id = new.task_id)
"""

_RUNS = """
INSERT INTO {target}.run_records BY NAME
SELECT
    (SELECT coalesce(max(run_key), 0) FROM run_records) + row_number() OVER (ORDER BY run_id) AS run_key,
    new.* EXCLUDE (task_id),
    t.task_key
FROM (SELECT DISTINCT ON (run_id) * FROM {source} ORDER BY started_at) AS new
JOIN task_records AS t USING (task_id)
WHERE NOT EXISTS (FROM run_records AS old WHERE old.run_id = new.run_id)
"""


def _insert_tasks(connection: duckdb.DuckDBPyConnection, files: Sequence[SpoolFile], target: str) -> None:
    connection.execute(_NEW_TASKS.format(source=_source(files)))
    connection.execute(f"INSERT INTO {target}.task_records BY NAME SELECT * EXCLUDE (items) FROM temp.new_tasks")
    connection.execute(
        f"INSERT INTO {target}.item_records BY NAME "
        "SELECT task_key, item.* FROM (SELECT task_key, unnest(items) AS item FROM temp.new_tasks)"
    )
    connection.execute("DROP TABLE temp.new_tasks")


def _insert_shards(
    connection: duckdb.DuckDBPyConnection, files: Sequence[SpoolFile], target: str
) -> tuple[list[SpoolFile], int, list[Damaged]]:
    """Insert item results; a shard whose run is not known yet stays in the spool."""
    if not files:
        return [], 0, []
    keys = {
        owner_token(str(run_id)): int(key)
        for run_id, key in connection.execute("SELECT run_id, run_key FROM run_records").fetchall()
    }
    items, damaged = _items_by_run([file for file in files if file.owner in keys])
    repeated = _runs_with_repeats(connection, {keys[owner]: entries for owner, entries in items.items()})
    groups: dict[tuple[bool, bool], list[_ShardItems]] = {}
    for owner, entries in items.items():
        answered = any("generations" in entry.columns for entry in entries)
        groups.setdefault((keys[owner] in repeated, answered), []).extend(entries)
    rows = sum(_insert_group(connection, group, target, repeats=repeats) for (repeats, _), group in groups.items())
    return [entry.file for group in groups.values() for entry in group], rows, damaged


def _insert_group(connection: duckdb.DuckDBPyConnection, group: Sequence[_ShardItems], target: str, *, repeats: bool) -> int:
    """Insert shards of runs whose items are all new, or may not be; return how many items were."""
    layouts = {entry.columns for entry in group}
    present = frozenset[str]().union(*layouts)
    columns = [f"s.{name}" if name in present else f"NULL AS {name}" for name in (*_SHARD_COLUMNS, "gold_token_loglikelihoods")]
    answered = "generations" in present
    statement = (_REPEATED if repeats else _CLEAN).format(
        columns=", ".join([*columns, "s.generations"] if answered else columns),
        # Shards of an older program, with fewer columns, may wait beside new ones.
        source=_source([entry.file for entry in group], by_name=len(layouts) > 1),
    )
    if answered:
        return insert_answered(connection, statement, target)
    result = connection.execute(f"INSERT INTO {target}.item_results BY NAME {statement}").fetchone()
    return int(result[0]) if result else 0


@dataclass(frozen=True, kw_only=True)
class _ShardItems:
    """Which items a shard holds."""

    file: SpoolFile
    items: NDArray[np.int32]
    columns: frozenset[str]


def _items_by_run(files: Sequence[SpoolFile]) -> tuple[dict[str, list[_ShardItems]], list[Damaged]]:
    found: dict[str, list[_ShardItems]] = {}
    damaged = []
    for file in files:
        try:
            shard = pq.ParquetFile(file.path)
            entry = _ShardItems(
                file=file,
                items=shard.read(columns=["item_idx"]).column(0).to_numpy(),
                columns=frozenset(shard.schema_arrow.names),
            )
        except (OSError, pa.ArrowException) as error:
            damaged.append(Damaged(file=file, reason=str(error).splitlines()[0]))
        else:
            found.setdefault(file.owner, []).append(entry)
    return found, damaged


def _runs_with_repeats(connection: duckdb.DuckDBPyConnection, items: Mapping[int, list[_ShardItems]]) -> set[int]:
    """Return the runs of which an item occurs twice in these shards, or is in the tables already."""
    repeated = set()
    for run_key, entries in items.items():
        together = np.sort(np.concatenate([entry.items for entry in entries]))
        if (together[1:] == together[:-1]).any():
            repeated.add(run_key)
    begun = connection.execute(
        "SELECT DISTINCT run_key FROM item_results WHERE run_key IN (SELECT unnest($keys::INTEGER[]))", {"keys": list(items)}
    ).fetchall()
    for (run_key,) in begun:
        stored = connection.execute("SELECT item_idx FROM item_results WHERE run_key = ?", [run_key]).fetchnumpy()["item_idx"]
        if any(np.isin(entry.items, stored).any() for entry in items[int(run_key)]):
            repeated.add(int(run_key))
    return repeated


_SHARD_COLUMNS = ("item_idx", "loglikelihoods", "n_tokens", "is_greedy")
"""What every shard has."""

_CLEAN = "SELECT r.run_key, {columns} FROM {source} AS s JOIN run_records AS r USING (run_id)"

# The same item twice: from two sessions that computed one run at once, or from a crash after the commit. The first stays.
_REPEATED = """
SELECT DISTINCT ON (r.run_key, s.item_idx) r.run_key, {columns}
FROM (SELECT *, file_row_number, filename FROM {source}) AS s
JOIN run_records AS r USING (run_id)
WHERE NOT EXISTS (FROM item_results AS old WHERE old.run_key = r.run_key AND old.item_idx = s.item_idx)
ORDER BY r.run_key, s.item_idx, s.filename, s.file_row_number
"""
