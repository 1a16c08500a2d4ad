"""The file itself: readable by older DuckDB clients, migrated step by step, refused when it is newer or somebody else's."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from store_records import make_checkpoint, make_run, make_shard, make_task

from forecast.core.errors import StoreError
from forecast.store import Store, schema


def test_other_clients_find_the_promised_views(filled: Store) -> None:
    with duckdb.connect(str(filled.path), read_only=True) as connection:
        names = (
            "checkpoints",
            "tasks",
            "items",
            "runs",
            "item_scores",
            "item_metrics",
            "scores",
            "observations",
            "fits",
            "forecasts",
        )
        for name in names:
            connection.execute(f"SELECT * FROM {name}").fetchall()
        columns = [row[0] for row in connection.execute("DESCRIBE scores").fetchall()]
        tags = connection.execute("SELECT tags FROM duckdb_databases() WHERE path IS NOT NULL").fetchone()
    for name in (
        "nll_per_char",
        "nll_per_byte",
        "bits_per_byte",
        "nll_choice_norm",
        "p_gold",
        "margin",
        "acc",
        "acc_norm",
        "acc_bytes",
    ):
        assert {name, f"{name}_sem"} <= set(columns)
    assert {"family", "model", "revision", "step", "task", "num_fewshot", "params", "params_non_embedding"} <= set(columns)
    assert {"tokens", "flops", "n_items", "chance"} <= set(columns)
    if "storage_version" in (tags[0] or {}):
        assert tags[0]["storage_version"].startswith("v1.4")


def test_each_step_and_its_record_are_one_transaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "r.duckdb")
    broken = tmp_path / "9998_broken.sql"
    broken.write_text("CREATE TABLE half (a INTEGER); SELECT * FROM no_such_table;")
    whole, newest = schema.migration_files(), schema.newest_version()
    with monkeypatch.context() as patch:
        patch.setattr(schema, "migration_files", lambda: [*whole, (newest + 1, broken)])
        with pytest.raises(StoreError):
            store.create()
    with duckdb.connect(str(store.path)) as connection:
        tables = {row[0] for row in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
        versions = [row[0] for row in connection.execute("SELECT version FROM schema_migrations").fetchall()]
    assert "half" not in tables
    assert versions == [number for number, _ in whole]
    fixed = tmp_path / "9998_fixed.sql"
    fixed.write_text("CREATE TABLE more (a INTEGER);")
    monkeypatch.setattr(schema, "migration_files", lambda: [*whole, (newest + 1, fixed)])
    store.create()
    assert store.info().schema_version == newest + 1


def test_a_newer_file_is_refused_for_reading_and_writing(filled: Store) -> None:
    list(filled.execute("UPDATE schema_migrations SET version = 77"))
    for action in (filled.score_rows, filled.create):
        with pytest.raises(StoreError, match=r"schema version 77; expected at most \d+.*upgrade"):
            action()


def test_stale_views_are_replaced_at_the_next_write_and_never_used(filled: Store) -> None:
    before = filled.score_rows()
    list(
        filled.execute(
            "DROP VIEW forecasts; CREATE OR REPLACE VIEW scores AS SELECT 1 AS old; "
            "UPDATE schema_migrations SET views_hash = ''"
        )
    )
    assert filled.score_rows() == before
    filled.create()
    with duckdb.connect(str(filled.path), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM scores").fetchone() == (len(before),)
        connection.execute("FROM forecasts").fetchall()


@pytest.fixture
def old_file(tmp_path: Path) -> Path:
    """A file as the first schema had it, with one imported row and a table of the user's."""
    path = tmp_path / "old.duckdb"
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{path}' AS store (STORAGE_VERSION 'v1.4.0'); USE store")
        connection.execute(schema.migration_files()[0][1].read_text())
        connection.execute(schema._LEDGER_TABLE)
        connection.execute("INSERT INTO schema_migrations VALUES (1, '0001_tables', '2026-01-01', '')")
        connection.execute(
            """INSERT INTO imported_observations BY NAME
            SELECT 'x' AS observation_id, 1 AS batch, 's' AS source, '' AS definition, 'f' AS family, 'm' AS model,
                '' AS revision, 't' AS task, 0.5 AS acc, '{}' AS metadata"""
        )
        connection.execute("CREATE TABLE mine AS SELECT 7 AS a; USE memory; DETACH store")
    return path


def test_an_old_file_is_read_without_being_written_and_upgraded_by_the_next_writer(old_file: Path) -> None:
    before = old_file.read_bytes()
    store = Store(old_file)
    sql = "SELECT family, acc, brier, (SELECT a FROM mine) AS a FROM observations"
    wanted = [{"family": "f", "acc": 0.5, "brier": None, "a": 7}]
    assert [row for batch in store.query(sql) for row in batch.to_pylist()] == wanted
    assert old_file.read_bytes() == before
    assert store.info().schema_version == 1
    store.create()
    assert store.info().schema_version == schema.newest_version()
    assert [row for batch in store.query(sql) for row in batch.to_pylist()] == wanted


def test_compacting_through_a_link_keeps_one_store(filled: Store, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere" / "link.duckdb"
    link.parent.mkdir()
    link.symlink_to(filled.path)
    filled.path.chmod(0o640)
    linked = Store(link)
    linked.compact()
    assert link.is_symlink()
    assert filled.path.stat().st_mode & 0o777 == 0o640
    task, checkpoint = make_task(), make_checkpoint("through-the-link")
    run = make_run(checkpoint, task)
    linked.open_run(run, checkpoint, task)
    linked.append(make_shard(run, task))
    # What waits is seen by both names, too.
    assert run.run_id in {row["run_id"] for row in filled.score_rows()}
    assert sorted(path.name for path in link.parent.iterdir()) == ["link.duckdb"]


def test_a_file_of_two_names_is_not_compacted(filled: Store, tmp_path: Path) -> None:
    other = tmp_path / "other.duckdb"
    other.hardlink_to(filled.path)
    with pytest.raises(StoreError, match="2 names"):
        filled.compact()
    assert other.samefile(filled.path)


def test_compacting_keeps_everything(filled: Store) -> None:
    scores, info = filled.score_rows(), filled.info()
    before, after = filled.compact()
    assert after <= before
    assert filled.score_rows() == scores
    assert filled.info().item_scores == info.item_scores
    assert filled.problems() == []
    assert sorted(path.name for path in filled.path.parent.iterdir()) == ["results.duckdb"]


def test_damage_is_found_and_named(filled: Store) -> None:
    damages = {
        "are not finite": (
            "UPDATE item_results SET loglikelihoods = ['nan'::DOUBLE, -1, -1, -1] WHERE run_key = 1 AND item_idx = 0"
        ),
        "complete runs that lack items": "DELETE FROM item_results WHERE run_key = 2 AND item_idx = 3",
        "results without a run": (
            "INSERT INTO item_results SELECT 99 AS run_key, * EXCLUDE (run_key) FROM item_results LIMIT 1"
        ),
        "two results for one item": "INSERT INTO item_results SELECT * FROM item_results WHERE run_key = 3 AND item_idx = 5",
        "prompts whose hash is wrong": "UPDATE item_records SET prompt = 'forged' WHERE task_key = 1 AND item_idx = 1",
        "checkpoints whose facts hash is wrong": "UPDATE checkpoint_records SET tokens = 1 WHERE model = 'toy-6'",
        "runs without a checkpoint": "UPDATE run_records SET checkpoint_id = 'gone' WHERE run_key = 4",
    }
    assert filled.problems() == []
    for sql in damages.values():
        list(filled.execute(sql))
    found = filled.problems()
    for sentence in damages:
        assert any(sentence in problem for problem in found), sentence
