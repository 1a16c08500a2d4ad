"""The whole store as a folder of Parquet files, and such a folder back into a store.

The files have the spool's own form, so taking them in follows the same rules: nothing twice, nothing overwritten. Rows and
names depend on the content alone: the same results give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote as url_quote

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from forecast.core.errors import InputError, StoreError
from forecast.store import arrow_tables, schema
from forecast.store.ingest import ingest
from forecast.store.spool import SpoolFile, owner_token

MANIFEST = "forecast-export.json"
FORMAT = 2
"""2: results have `gold_token_loglikelihoods`, and `generations` where models wrote answers."""

_ROWS_PER_GROUP = 65_536

_PLAIN = {
    "checkpoint": ("checkpoint_records", "ORDER BY checkpoint_id, registered_at, facts_hash", arrow_tables.CHECKPOINT_SCHEMA),
    "run": (
        "(SELECT r.* EXCLUDE (task_key), t.task_id FROM run_records AS r JOIN task_records AS t USING (task_key))",
        "ORDER BY run_id",
        arrow_tables.RUN_SCHEMA,
    ),
    "closing": ("run_closings", "ORDER BY run_id, closed_at, closing_id", arrow_tables.CLOSING_SCHEMA),
    "withdrawal": ("withdrawn_observations", "ORDER BY batch, observation_id", None),
    "observations": ("imported_observations", "ORDER BY batch, observation_id", arrow_tables.OBSERVATION_SCHEMA),
    "fit": ("fits", "ORDER BY fit_id", None),
    "forecast": ("forecast_records", "ORDER BY forecast_id", None),
}
"""Kind -> relation, order, columns (None: as the table has them). One file each."""


def write_export(connection: duckdb.DuckDBPyConnection, folder: Path) -> list[Path]:
    """Write everything that `connection` sees into an empty or new folder; return the files, the manifest last.

    Raises:
        InputError: the folder holds something else.
        StoreError: it cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and not (folder / MANIFEST).is_file():
        raise InputError(f"{folder} is not empty", expected="a new folder, or an earlier export", remedy="choose another one")
    try:
        for old in sorted(folder.rglob("*.parquet")):
            old.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        files = [*_write_plain(connection, folder), *_write_tasks(connection, folder), *_write_results(connection, folder)]
        manifest = folder / MANIFEST
        content = {"format": FORMAT, "schema_version": schema.newest_version(), "files": len(files)}
        manifest.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error.strerror or error}", remedy="choose another folder") from error
    return [*files, manifest]


def _write_plain(connection: duckdb.DuckDBPyConnection, folder: Path) -> Iterator[Path]:
    for kind, (relation, order, columns) in _PLAIN.items():
        names = "*" if columns is None else ", ".join(columns.names)
        path = folder / f"{kind}.parquet"
        if _write(connection, f"SELECT {names} FROM {relation} {order}", path, columns):
            yield path


def _write_tasks(connection: duckdb.DuckDBPyConnection, folder: Path) -> Iterator[Path]:
    tasks = connection.execute("SELECT task_key, task_id, task FROM task_records ORDER BY task, task_id").fetchall()
    for key, task_id, task in tasks:
        path = folder / "tasks" / f"task={_safe(task)}" / f"{owner_token(task_id)}.parquet"
        struct = ", ".join(f"{field.name} := i.{field.name}" for field in arrow_tables.ITEM_TYPE)
        names = ", ".join(f"t.{name}" for name in arrow_tables.TASK_SCHEMA.names if name != "items")
        items = f"SELECT list(struct_pack({struct}) ORDER BY i.item_idx) FROM item_records AS i WHERE i.task_key = t.task_key"
        sql = f"SELECT {names}, ({items}) AS items FROM task_records AS t WHERE t.task_key = {int(key)}"
        if _write(connection, sql, path, arrow_tables.TASK_SCHEMA):
            yield path


def _write_results(connection: duckdb.DuckDBPyConnection, folder: Path) -> Iterator[Path]:
    runs = connection.execute(
        """SELECT r.run_key, r.run_id, c.family, t.task, r.run_key IN (SELECT run_key FROM generation_records) AS answered
        FROM run_records AS r
        JOIN task_records AS t USING (task_key) LEFT JOIN checkpoints AS c USING (checkpoint_id) ORDER BY r.run_id"""
    ).fetchall()
    for key, run_id, family, task, answered in runs:
        part = folder / "item_scores" / f"family={_safe(family or 'unknown')}" / f"task={_safe(task)}"
        path = part / f"{owner_token(run_id)}.parquet"
        columns = arrow_tables.ANSWERED_SHARD_SCHEMA if answered else arrow_tables.SHARD_SCHEMA
        sql = f"""SELECT r.run_id, s.* EXCLUDE (run_key){", g.generations" if answered else ""}
            FROM item_results AS s JOIN run_records AS r USING (run_key)
            {_ANSWERS.format(key=int(key)) if answered else ""} WHERE s.run_key = {int(key)} ORDER BY s.item_idx"""
        if _write(connection, f"SELECT {', '.join(columns.names)} FROM ({sql})", path, columns):
            yield path


# In the form of `arrow_tables.ANSWER_TYPE`.
_ANSWERS = """
LEFT JOIN (
    SELECT a.item_idx, list(struct_pack(
        sample_idx := a.sample_idx, text := t.text, n_tokens := a.n_tokens, stopped := a.stopped, correct := a.correct,
        filters := a.filters, extracted := coalesce(e.extracted, []), metric_values := a.metric_values
    ) ORDER BY a.sample_idx) AS generations
    FROM generation_records AS a
    JOIN generation_texts AS t USING (text_key)
    LEFT JOIN (
        SELECT x.item_idx, x.sample_idx, list(t.text ORDER BY x.filter_idx) AS extracted
        FROM (
            SELECT item_idx, sample_idx, unnest(extracted_keys) AS text_key,
                generate_subscripts(extracted_keys, 1) AS filter_idx
            FROM generation_records WHERE run_key = {key}
        ) AS x
        JOIN generation_texts AS t USING (text_key)
        GROUP BY ALL
    ) AS e ON e.item_idx = a.item_idx AND e.sample_idx = a.sample_idx
    WHERE a.run_key = {key}
    GROUP BY a.item_idx
) AS g ON g.item_idx = s.item_idx
"""


def _safe(name: str) -> str:
    """A name as part of a path, in the manner of hive partitions."""
    return url_quote(name, safe="") or "none"


def _write(connection: duckdb.DuckDBPyConnection, sql: str, path: Path, columns: pa.Schema | None) -> bool:
    """Stream a query into a file; no file is written where there are no rows."""
    relation = connection.sql(sql)
    open_reader = getattr(relation, "to_arrow_reader", None) or relation.fetch_record_batch
    reader = open_reader(_ROWS_PER_GROUP)
    writer = None
    try:
        for batch in reader:
            if batch.num_rows == 0:
                continue
            table = pa.Table.from_batches([batch])
            table = table if columns is None else table.cast(columns)
            if writer is None:
                path.parent.mkdir(parents=True, exist_ok=True)
                writer = pq.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table, row_group_size=_ROWS_PER_GROUP)
    finally:
        if writer is not None:
            writer.close()
    return writer is not None


def is_export(folder: Path) -> bool:
    """Tell whether a folder is an export."""
    return (folder / MANIFEST).is_file()


def read_export(connection: duckdb.DuckDBPyConnection, folder: Path) -> int:
    """Take an export into the attached store, all of it or nothing; return the item results added.

    Raises:
        InputError: the folder is not a complete export, or a newer version of this program wrote it.
    """
    connection.execute("BEGIN")
    try:
        rows = take_export(connection, folder)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    return rows


def take_export(connection: duckdb.DuckDBPyConnection, folder: Path) -> int:
    """Take an export into the attached store and return the item results added; the caller holds the transaction.

    Raises:
        InputError: the folder is not a complete export, or a newer version of this program wrote it.
    """
    files = _export_files(folder)
    result = ingest(connection, files, "store.main")
    if result.damaged:
        entry = result.damaged[0]
        raise InputError(f"{entry.file.path} cannot be read: {entry.reason}", remedy="nothing was imported")
    left = {file.path for file in files} - {file.path for file in result.done}
    if left:
        raise InputError(f"{min(left)} does not belong to any run of the export", remedy="nothing was imported")
    return result.rows


def _export_files(folder: Path) -> list[SpoolFile]:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        format_number, count = int(manifest["format"]), int(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / MANIFEST} cannot be read: {error}", expected="the manifest of an export") from error
    if format_number > FORMAT:
        raise InputError(f"{folder} has export format {format_number}", expected=f"at most {FORMAT}", remedy="upgrade")
    paths = [(kind, folder / f"{kind}.parquet") for kind in _PLAIN]
    paths += [("task", path) for path in sorted(folder.glob("tasks/task=*/*.parquet"))]
    paths += [("shard", path) for path in sorted(folder.glob("item_scores/family=*/task=*/*.parquet"))]
    files = [
        SpoolFile(path=path, kind=kind, owner=path.stem, size_bytes=path.stat().st_size)
        for kind, path in paths
        if path.is_file()
    ]
    if len(files) != count:
        raise InputError(
            f"{folder} holds {len(files)} files",
            expected=f"{count}, as its manifest says",
            remedy="copy the whole folder again",
        )
    return files
