"""The schema of the results file: numbered migrations, each with its record in one transaction, and the views on top."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from forecast.core.errors import StoreError
from forecast.core.resources import data_folder

BASE_TABLES = (
    "checkpoint_records",
    "task_records",
    "item_records",
    "run_records",
    "run_closings",
    "item_results",
    "generation_texts",
    "generation_records",
    "imported_observations",
    "withdrawn_observations",
    "fits",
    "forecast_records",
)
"""Tables that hold what was measured or said; everything else is a view on them."""

PUBLIC_NAMES = (
    "checkpoints",
    "tasks",
    "items",
    "runs",
    "item_scores",
    "item_tokens",
    "item_metrics",
    "generations",
    "generation_extracts",
    "generation_metrics",
    "scores",
    "observations",
    "fits",
    "forecasts",
)
"""What users can rely on, and all that `SHOW TABLES` lists besides their own tables."""

LEDGER = "schema_migrations"
"""Which migrations were applied, and when."""

_LEDGER_TABLE = f"""
CREATE TABLE IF NOT EXISTS {LEDGER} (
    version INTEGER NOT NULL,
    name VARCHAR NOT NULL,
    applied_at VARCHAR NOT NULL,
    views_hash VARCHAR NOT NULL
)
"""


def migration_files() -> list[tuple[int, Path]]:
    """Return (version, file) of every migration, in order."""
    files = sorted(data_folder("db/migrations").glob("[0-9]*.sql"))
    return [(int(file.name.split("_")[0]), file) for file in files]


def view_statements(*, records_only: bool = False) -> str:
    """Return the SQL that creates all views and macros, in order, or those of the records alone."""
    files = sorted(data_folder("db/views").glob("01_*.sql" if records_only else "[0-9]*.sql"))
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def newest_version() -> int:
    """Return the newest schema version that this program knows."""
    return migration_files()[-1][0]


def stored_version(connection: duckdb.DuckDBPyConnection, path: Path) -> int:
    """Return the schema version of the attached database `store`, 0 when it is empty.

    Raises:
        StoreError: the file holds something else, or was written by a newer program.
    """
    tables = {
        str(row[0])
        for row in connection.execute("SELECT table_name FROM duckdb_tables() WHERE database_name = 'store'").fetchall()
    }
    if not tables:
        return 0
    if "schema_migrations" not in tables:
        raise StoreError(
            f"{path} is a DuckDB file with other tables ({', '.join(sorted(tables)[:3])})",
            expected="a results file of this program",
            remedy="choose another `db=`",
        )
    row = connection.execute("SELECT max(version) FROM store.schema_migrations").fetchone()
    version = int(row[0]) if row and row[0] is not None else 0
    if version > newest_version():
        raise StoreError(
            f"{path} has schema version {version}",
            expected=f"at most {newest_version()}, which this program knows",
            remedy="upgrade capability-forecast",
        )
    return version


def is_current(connection: duckdb.DuckDBPyConnection, path: Path) -> bool:
    """Tell whether the attached database `store` has the newest schema and this program's views."""
    if stored_version(connection, path) < newest_version():
        return False
    row = connection.execute("SELECT arg_max(views_hash, applied_at) FROM store.schema_migrations").fetchone()
    return row is not None and row[0] == _views_hash()


def migrate(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Bring the attached database `store` to the newest schema; each step and its record are one transaction."""
    if is_current(connection, path):
        return
    version = stored_version(connection, path)
    connection.execute("USE store")
    pending = [(number, file) for number, file in migration_files() if number > version]
    for number, file in pending:
        _apply(connection, number, file.stem, file.read_text(encoding="utf-8"))
    if not is_current(connection, path):
        _apply(connection, newest_version(), "views", view_statements())


def _apply(connection: duckdb.DuckDBPyConnection, version: int, name: str, statements: str) -> None:
    views_hash = _views_hash() if name == "views" else ""
    connection.execute("BEGIN")
    try:
        connection.execute(_LEDGER_TABLE)
        connection.execute(statements)
        connection.execute(
            "INSERT INTO schema_migrations VALUES (?, ?, ?, ?)", [version, name, datetime.now(UTC).isoformat(), views_hash]
        )
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _views_hash() -> str:
    return hashlib.sha256(view_statements().encode("utf-8")).hexdigest()[:32]
