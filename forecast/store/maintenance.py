"""Care of the results file: what is in it, whether it is whole, and rewriting it without its gaps."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from forecast.core.errors import StoreError
from forecast.core.hashing import content_hash
from forecast.core.observation_tables import observation_hash
from forecast.store import schema
from forecast.store.arrow_tables import OBSERVATION_SCHEMA
from forecast.store.locking import STORAGE_VERSION, attached, explain, quote, rows_of
from forecast.store.sessions import Unseen


@dataclass(frozen=True, kw_only=True)
class StoreInfo:
    """Counts and sizes."""

    path: str
    size_bytes: int
    spooled_files: int
    spooled_bytes: int
    schema_version: int
    storage_version: str
    duckdb_version: str
    checkpoints: int
    tasks: int
    items: int
    runs: int
    complete_runs: int
    item_scores: int
    generations: int
    observations: int
    imported_observations: int
    fits: int
    forecasts: int


_COUNTS = """
SELECT
    (SELECT count(*) FROM checkpoints) AS checkpoints,
    (SELECT count(*) FROM task_records) AS tasks,
    (SELECT count(*) FROM item_records) AS items,
    (SELECT count(*) FROM run_records) AS runs,
    (SELECT count(*) FROM runs WHERE status = 'complete') AS complete_runs,
    (SELECT count(*) FROM item_results) AS item_scores,
    (SELECT count(*) FROM generation_records) AS generations,
    (SELECT count(*) FROM observations) AS observations,
    (SELECT count(*) FROM imported_observations) AS imported_observations,
    (SELECT count(*) FROM fits) AS fits,
    (SELECT count(*) FROM forecast_records) AS forecasts
"""


def describe(connection: duckdb.DuckDBPyConnection, path: Path, *, spooled_files: int, spooled_bytes: int) -> StoreInfo:
    """Count what a reading connection sees, spooled results included."""
    connection.execute(_COUNTS)
    (counts,) = rows_of(connection)
    connection.execute("SELECT tags['storage_version'] AS v FROM duckdb_databases() WHERE database_name = 'store'")
    (tags,) = rows_of(connection)
    return StoreInfo(
        path=str(path),
        size_bytes=path.stat().st_size,
        spooled_files=spooled_files,
        spooled_bytes=spooled_bytes,
        schema_version=schema.stored_version(connection, path),
        storage_version=str(tags["v"] or "unknown"),
        duckdb_version=duckdb.__version__,
        **counts,
    )


_CHECKS = {
    "task_key of items without a task": "SELECT DISTINCT task_key FROM item_records ANTI JOIN task_records USING (task_key)",
    "tasks whose number of items is wrong": """
        SELECT task || ' ' || task_id FROM task_records AS t
        WHERE n_items <> (SELECT count(*) FROM item_records AS i WHERE i.task_key = t.task_key)""",
    "items stored twice": """
        SELECT task_key || '/' || item_idx FROM item_records GROUP BY task_key, item_idx HAVING count(*) > 1""",
    "items whose correct choice does not exist, or with an empty choice": """
        SELECT task_key || '/' || item_idx FROM item_records
        JOIN task_records USING (task_key)
        WHERE NOT (output_type = 'generate_until' AND len(choices) = 0) AND (
            gold NOT BETWEEN 0 AND len(choices) - 1 OR len(n_chars) <> len(choices) OR len(n_bytes) <> len(choices)
            OR list_min(n_chars) < 1 OR list_min(n_bytes) < 1
        )""",
    "runs without a checkpoint": """
        SELECT run_id FROM run_records ANTI JOIN checkpoint_records USING (checkpoint_id)""",
    "runs without a task": "SELECT run_id FROM run_records ANTI JOIN task_records USING (task_key)",
    "runs, checkpoints' statements or tasks stored twice": """
        SELECT run_id FROM run_records GROUP BY run_id HAVING count(*) > 1
        UNION ALL SELECT task_id FROM task_records GROUP BY task_id HAVING count(*) > 1
        UNION ALL SELECT checkpoint_id FROM checkpoint_records GROUP BY checkpoint_id, registered_at, facts_hash
            HAVING count(*) > 1""",
    "closings without a run": "SELECT closing_id FROM run_closings ANTI JOIN run_records USING (run_id)",
    "results without a run": "SELECT DISTINCT run_key FROM item_results ANTI JOIN run_records USING (run_key)",
    "runs with results for items that their task does not have": """
        SELECT DISTINCT r.run_id FROM item_results AS s JOIN run_records AS r USING (run_key)
        ANTI JOIN item_records AS i ON i.task_key = r.task_key AND i.item_idx = s.item_idx""",
    "runs with two results for one item": """
        SELECT DISTINCT r.run_id
        FROM (SELECT run_key, item_idx FROM item_results GROUP BY run_key, item_idx HAVING count(*) > 1)
        JOIN run_records AS r USING (run_key)""",
    "runs with loglikelihoods that are not finite": """
        SELECT DISTINCT r.run_id FROM item_results AS s JOIN run_records AS r USING (run_key)
        WHERE len(list_filter(loglikelihoods, lambda x: x IS NULL OR NOT isfinite(x))) > 0""",
    "runs whose number of loglikelihoods differs from the number of choices": """
        SELECT DISTINCT r.run_id FROM item_results AS s JOIN run_records AS r USING (run_key)
        JOIN item_records AS i ON i.task_key = r.task_key AND i.item_idx = s.item_idx
        WHERE len(s.loglikelihoods) <> len(i.choices) OR len(s.n_tokens) <> len(i.choices)
            OR len(s.is_greedy) <> len(i.choices)""",
    "runs with loglikelihoods of tokens that are not those of the correct choice": """
        SELECT DISTINCT r.run_id FROM item_results AS s JOIN run_records AS r USING (run_key)
        JOIN item_records AS i ON i.task_key = r.task_key AND i.item_idx = s.item_idx
        WHERE len(s.gold_token_loglikelihoods) <> s.n_tokens[i.gold + 1]
            OR len(list_filter(s.gold_token_loglikelihoods, lambda x: x IS NULL OR NOT isfinite(x))) > 0""",
    "generated answers without a result of their item": """
        SELECT DISTINCT run_key || '/' || item_idx FROM generation_records ANTI JOIN item_results USING (run_key, item_idx)""",
    "items with a generated answer missing or twice": """
        SELECT run_key || '/' || item_idx FROM generation_records GROUP BY run_key, item_idx
        HAVING count(DISTINCT sample_idx) <> count(*) OR min(sample_idx) <> 0 OR max(sample_idx) <> count(*) - 1""",
    "runs of which some items lack the answers that others have": """
        SELECT run_id FROM run_records JOIN (
            SELECT run_key, count(g.n) AS n_answered, count(*) AS n_items, min(g.n) AS least, max(g.n) AS most
            FROM item_results
            LEFT JOIN (SELECT run_key, item_idx, count(*) AS n FROM generation_records GROUP BY ALL) AS g
            USING (run_key, item_idx)
            GROUP BY run_key
        ) USING (run_key)
        WHERE n_answered NOT IN (0, n_items) OR least <> most""",
    "generated texts that are missing, stored twice or with a wrong hash": """
        SELECT text_key FROM generation_texts WHERE text_hash <> md5_number(text)
        UNION ALL SELECT text_key FROM generation_texts GROUP BY text_key HAVING count(*) > 1
        UNION ALL SELECT min(text_key) FROM generation_texts GROUP BY text_hash HAVING count(*) > 1
        UNION ALL (
            SELECT text_key FROM generation_records UNION SELECT unnest(extracted_keys) FROM generation_records
            EXCEPT SELECT text_key FROM generation_texts
        )""",
    "complete runs that lack items": """
        SELECT u.run_id FROM runs AS u JOIN run_records AS r USING (run_id)
        WHERE u.status = 'complete'
            AND u.n_items_expected <> (SELECT count(*) FROM item_results AS s WHERE s.run_key = r.run_key)""",
}
"""A defect -> a query that names where it occurs."""

_NAMED = 3


def find_problems(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Return one sentence per kind of damage; an empty list means that the store is whole."""
    problems = []
    for what, sql in _CHECKS.items():
        found = [str(row[0]) for row in connection.execute(sql).fetchall()]
        if found:
            problems.append(_sentence(what, found))
    for what, found in _wrong_hashes(connection).items():
        if found:
            problems.append(_sentence(what, found))
    return problems


def spool_problems(unseen: Unseen, aside: Sequence[Path]) -> list[str]:
    """Return one sentence per kind of spooled file that no answer shows."""
    found = {
        "spooled files that cannot be read": [f"{entry.file.path} ({entry.reason})" for entry in unseen.damaged],
        "spooled files that belong to no registered run": [str(file.path) for file in unseen.orphans],
        "damaged files that were set aside (evaluate those items again, then delete them)": [str(path) for path in aside],
    }
    return [_sentence(what, names) for what, names in found.items() if names]


def _sentence(what: str, found: list[str]) -> str:
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return f"{len(found)} {what}: {', '.join(sorted(found)[:_NAMED])}{more}"


def _wrong_hashes(connection: duckdb.DuckDBPyConnection) -> dict[str, list[str]]:
    """Recompute the content hashes."""
    prompts = connection.execute("SELECT DISTINCT prompt, prompt_hash FROM item_records").fetchall()
    connection.execute(
        "SELECT checkpoint_id, facts_hash, " + ", ".join(_FACTS) + " FROM checkpoint_records ORDER BY checkpoint_id"
    )
    checkpoints = rows_of(connection)
    connection.execute(f"SELECT {', '.join(OBSERVATION_SCHEMA.names)} FROM imported_observations")
    observations = rows_of(connection)
    return {
        "prompts whose hash is wrong": [digest for prompt, digest in prompts if content_hash(prompt) != digest],
        "checkpoints whose facts hash is wrong": [
            row["checkpoint_id"]
            for row in checkpoints
            if content_hash({name: row[name] for name in ("checkpoint_id", *_FACTS)}) != row["facts_hash"]
        ],
        "observations whose hash is wrong": [
            row["observation_id"] for row in observations if observation_hash(row) != row["observation_id"]
        ],
    }


_FACTS = (
    "family",
    "model",
    "revision",
    "revision_sha",
    "source",
    "step",
    "params",
    "params_non_embedding",
    "tokens",
    "flops",
    "flops_convention",
    "architecture",
    "tokenizer_hash",
    "is_final",
    "metadata",
)


def compact(path: Path, *, timeout_s: float) -> tuple[int, int]:
    """Rewrite the file, rows in order and without gaps; return its size before and after, in bytes.

    Raises:
        StoreError: the file stays locked, or there is no space; the old file is then untouched.
    """
    state = path.stat()
    if state.st_nlink > 1:
        raise StoreError(
            f"{path} has {state.st_nlink} names (hard links), and rewriting it would separate them",
            remedy="remove the other names first",
        )
    before = state.st_size
    fresh = path.with_name(f"{path.name}.compact")
    fresh.unlink(missing_ok=True)
    try:
        with attached(path, read_only=False, timeout_s=timeout_s) as connection:
            connection.execute(f"ATTACH {quote(str(fresh))} AS fresh (STORAGE_VERSION '{STORAGE_VERSION}')")
            connection.execute("COPY FROM DATABASE store TO fresh")
            for table in schema.BASE_TABLES:
                _check_same_count(connection, table)
            connection.execute("DETACH fresh")
            with fresh.open("rb") as handle:
                os.fsync(handle.fileno())
            shutil.copymode(path, fresh)
            # Our lock on the old file keeps everybody out until the new one bears its name.
            fresh.replace(path)
    except (duckdb.Error, OSError) as error:
        raise explain(error, path) from error
    finally:
        fresh.unlink(missing_ok=True)
        fresh.with_name(f"{fresh.name}.wal").unlink(missing_ok=True)
    return before, path.stat().st_size


def _check_same_count(connection: duckdb.DuckDBPyConnection, table: str) -> None:
    rows = connection.execute(
        f"SELECT (SELECT count(*) FROM store.main.{table}), (SELECT count(*) FROM fresh.main.{table})"
    ).fetchone()
    if rows is None or rows[0] != rows[1]:
        raise StoreError(f"rewriting {table} gave {rows} rows", expected="as many as before", remedy="the file is unchanged")
