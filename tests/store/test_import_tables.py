"""Tables that are imported again: known by their path, compared by what they say, and nothing lost without a count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from forecast.core.errors import InputError, StoreError
from forecast.core.observation_rows import ObservationRow
from forecast.core.observation_tables import (
    IDENTIFIED_COLUMNS,
    batch_of_rows,
    observation_content,
    observation_hash,
    observation_ids,
)
from forecast.store import Store
from forecast.store.import_tables import TableChange


def rows(*accs: float, task: str = "t") -> list[ObservationRow]:
    """One checkpoint for each accuracy."""
    return [
        ObservationRow(family="f", model=f"m{n}", task=task, params=10.0 ** (8 + n), tokens=1e10, metrics={"acc": acc})
        for n, acc in enumerate(accs)
    ]


def take(store: Store, source: str, content: Sequence[ObservationRow]) -> TableChange:
    import pyarrow as pa

    batch = batch_of_rows([replace(row, source=source) for row in content])
    identified = pa.RecordBatch.from_arrays([pa.array(observation_ids(batch)), *batch.columns], schema=IDENTIFIED_COLUMNS)
    with store.importing() as job:
        job.add_table(source, [identified])
        (change,) = job.commit().tables
    return change


def said(store: Store) -> list[tuple[str, str, float]]:
    found = store.query("SELECT source, model, acc FROM observations ORDER BY ALL")
    return [(row["source"], row["model"], row["acc"]) for batch in found for row in batch.to_pylist()]


def change(count: int, **counts: object) -> TableChange:
    return TableChange(**{"rows": count, "added": 0, "replaced": 0, "unchanged": 0, "removed": 0, **counts})  # type: ignore[arg-type]


def test_equal_names_in_two_folders_are_two_tables(store: Store) -> None:
    assert take(store, "/a/runs.csv", rows(0.1, 0.2)) == change(2, added=2)
    assert take(store, "/b/runs.csv", rows(0.3, 0.4)) == change(2, added=2)
    assert len(said(store)) == 4


def test_a_table_that_changed_is_counted_and_what_it_lost_is_gone(store: Store) -> None:
    take(store, "/a.csv", rows(0.1, 0.2, 0.3))
    assert take(store, "/a.csv", rows(0.1, 0.2, 0.3)) == change(3, unchanged=3)
    assert take(store, "/a.csv", [*rows(0.1, 0.25), *rows(0.5, task="u")]) == change(
        3, added=1, replaced=1, unchanged=1, removed=1
    )
    assert said(store) == [("/a.csv", "m0", 0.1), ("/a.csv", "m0", 0.5), ("/a.csv", "m1", 0.25)]
    assert take(store, "/a.csv", rows(0.1, 0.2, 0.3)) == change(3, added=1, replaced=1, unchanged=1, removed=1)
    assert said(store) == [("/a.csv", f"m{n}", (n + 1) / 10) for n in range(3)]
    assert store.problems() == []


def test_the_same_rows_from_another_path_count_once(store: Store) -> None:
    take(store, "/a.csv", rows(0.1, 0.2))
    assert take(store, "/copy.csv", rows(0.1, 0.2)) == change(2, unchanged=2, same_as="/a.csv")
    assert len(said(store)) == 2
    assert take(store, "/copy.csv", rows(0.1, 0.3)) == change(2, added=2)
    assert take(store, "/copy.csv", rows(0.1, 0.2)) == change(2, unchanged=2, removed=2, same_as="/a.csv")
    assert [row[0] for row in said(store)] == ["/a.csv", "/a.csv"]


def test_rows_that_contradict_each_other_stay_together(store: Store) -> None:
    """Of one place the latest batch counts: a row that stays must not vanish behind a new one beside it."""
    (one,) = rows(0.1)
    other = replace(one, metrics={"acc": 0.6})
    take(store, "/a.csv", [one])
    assert take(store, "/a.csv", [one, other]) == change(2, added=1, unchanged=1)
    assert [row[2] for row in said(store)] == [0.1, 0.6]
    assert take(store, "/a.csv", [other]) == change(1, unchanged=1, removed=1)
    assert [row[2] for row in said(store)] == [0.6]


def test_rows_without_numbers_have_a_place_too(store: Store) -> None:
    bare = ObservationRow(family="f", model="m", task="t", flops=1e20, metrics={"acc": 0.5}, sems={"acc": 0.1})
    take(store, "/a.csv", [bare])
    assert take(store, "/a.csv", [replace(bare, sems={})]) == change(1, replaced=1)


def test_tables_known_by_name_alone_are_taken_over_row_by_row(store: Store) -> None:
    store.add_observations(rows(0.1, 0.2), source="runs.csv")
    assert take(store, "/a/runs.csv", rows(0.1, 0.25)) == change(2, replaced=1, unchanged=1)
    assert said(store) == [("/a/runs.csv", "m0", 0.1), ("/a/runs.csv", "m1", 0.25)]
    assert take(store, "/a/runs.csv", rows(0.1, 0.25)) == change(2, unchanged=2)


def test_another_table_of_that_name_is_left_alone(store: Store) -> None:
    store.add_observations(rows(0.1, 0.2, 0.3), source="runs.csv")
    assert take(store, "/b/runs.csv", rows(0.7, 0.8)) == change(2, added=2, left_by_name=3)
    assert len(said(store)) == 5
    assert take(store, "/a/runs.csv", rows(0.1, 0.2)) == change(2, unchanged=2, left_by_name=1)
    assert [row for row in said(store) if row[0] == "runs.csv"] == [("runs.csv", "m2", 0.3)]


def test_an_export_carries_what_was_withdrawn(store: Store, tmp_path: Path) -> None:
    take(store, "/a.csv", rows(0.1, 0.2))
    stale = Store(tmp_path / "stale.duckdb")
    stale.create()
    stale.merge(_exported(store, tmp_path / "first"))
    take(store, "/a.csv", rows(0.1))
    take(store, "/a.csv", rows(0.1, 0.2))
    take(store, "/a.csv", rows(0.15))
    folder = _exported(store, tmp_path / "second")
    for _ in range(2):
        assert stale.merge(folder) == 0
        assert said(stale) == said(store) == [("/a.csv", "m0", 0.15)]
    assert stale.problems() == []


def test_an_export_in_which_a_row_was_withdrawn_and_said_again(store: Store, tmp_path: Path) -> None:
    take(store, "/a.csv", rows(0.1, 0.2))
    stale = Store(tmp_path / "stale.duckdb")
    stale.create()
    stale.merge(_exported(store, tmp_path / "first"))
    take(store, "/a.csv", rows(0.1))
    take(store, "/a.csv", rows(0.1, 0.2))
    stale.merge(_exported(store, tmp_path / "second"))
    assert said(stale) == said(store) == [("/a.csv", "m0", 0.1), ("/a.csv", "m1", 0.2)]


def _exported(store: Store, folder: Path) -> Path:
    store.export(folder)
    return folder


def test_a_clock_that_was_set_back_hides_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from forecast.store import imports

    take(store, "/a.csv", rows(0.1))
    take(store, "/a.csv", rows(0.2))
    monkeypatch.setattr(imports.time, "time_ns", lambda: 1_000)
    take(store, "/a.csv", rows(0.1))
    assert [row[2] for row in said(store)] == [0.1]
    with store.importing() as job:
        job.withdraw([observation_hash(observation_content(replace(rows(0.1)[0], source="/a.csv")))])
        job.commit()
    assert said(store) == []


def test_a_file_of_the_first_schema_is_brought_forward(store: Store) -> None:
    store.add_observations(rows(0.1, 0.2), source="runs.csv")
    list(
        store.execute(
            "DROP TABLE withdrawn_observations; DROP TABLE generation_records; DROP TABLE generation_texts;"
            "ALTER TABLE item_results DROP COLUMN gold_token_loglikelihoods;"
            "ALTER TABLE imported_observations DROP COLUMN brier; ALTER TABLE imported_observations DROP COLUMN brier_sem;"
            "DELETE FROM schema_migrations WHERE version > 1"
        )
    )
    assert len(said(store)) == 2
    assert take(store, "/a/runs.csv", rows(0.1, 0.2)) == change(2, unchanged=2)


def test_what_fails_leaves_nothing(store: Store, tmp_path: Path) -> None:
    store.create()
    before = store.info()
    with store.importing() as job:
        job.add_observations(rows(0.1), source="x")
        job.add_export(tmp_path / "no-export")
        with pytest.raises(InputError):
            job.commit()
    assert store.info() == before
    assert [path.name for path in tmp_path.iterdir()] == [store.path.name]
    with pytest.raises(StoreError, match="no folder"), Store(tmp_path / "none" / "r.duckdb").importing():
        pass
