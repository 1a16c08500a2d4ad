"""The table of metrics in `core` against the SQL that computes them: a metric is one row there and one column here."""

from __future__ import annotations

import duckdb

from forecast.core.metrics import ACCURACY_METRICS, METRICS
from forecast.store import Store
from forecast.store.arrow_tables import OBSERVATION_SCHEMA
from forecast.store.item_matrices import _CORRECT, _SMOOTH


def columns_of(store: Store, name: str) -> set[str]:
    return {row["column_name"] for batch in store.query(f"DESCRIBE {name}") for row in batch.to_pylist()}


def test_every_metric_is_a_column_with_its_error_and_every_such_column_is_a_metric(filled: Store) -> None:
    names = {metric.name for metric in METRICS}
    for relation in ("observations", "imported_observations"):
        columns = columns_of(filled, relation)
        assert {name for name in columns if f"{name}_sem" in columns} == names, relation
    assert {name for name in OBSERVATION_SCHEMA.names if f"{name}_sem" in OBSERVATION_SCHEMA.names} == names
    # A loss on general text is not a score of its own: it is another task's.
    scores = columns_of(filled, "scores")
    assert {name for name in names - {"loss"} if {name, f"{name}_sem"} - scores} == set()


def test_what_is_computed_lies_in_the_range_that_imports_accept(filled: Store) -> None:
    for metric in METRICS:
        sql = f"SELECT count({metric.name}) AS n, min({metric.name}) AS low, max({metric.name}) AS high FROM observations"
        ((found,),) = [batch.to_pylist() for batch in filled.query(sql)]
        assert found["n"] > 0, metric.name
        assert metric.low <= found["low"] <= found["high"] <= metric.high, metric.name


def test_items_have_the_same_metrics(filled: Store) -> None:
    items = columns_of(filled, "item_metrics")
    assert {*_CORRECT.values(), *_SMOOTH} <= items
    assert set(_CORRECT) == set(ACCURACY_METRICS)
    ladder = next(entry for entry in filled.ladders(tasks=["toy"], with_items=True))
    assert ladder.items is not None
    assert set(ladder.items.correct) == set(ACCURACY_METRICS)
    assert set(ladder.items.nll) == {*_SMOOTH, "bits_per_byte"}


def test_a_forecast_meets_the_truth_of_any_accuracy(filled: Store) -> None:
    rows = [row["metric"] for batch in filled.query("SELECT DISTINCT metric FROM measured_values") for row in batch.to_pylist()]
    assert set(rows) == set(ACCURACY_METRICS)


def test_another_client_computes_the_same_scores(filled: Store) -> None:
    with duckdb.connect(str(filled.path), read_only=True) as connection:
        found = connection.execute("SELECT run_id, brier, brier_sem FROM scores ORDER BY run_id").fetchall()
    wanted = sorted((row["run_id"], row["brier"], row["brier_sem"]) for row in filled.score_rows())
    assert found == wanted
    assert any(brier is not None for _, brier, _ in found)
