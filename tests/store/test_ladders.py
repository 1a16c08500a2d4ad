"""Ladders from the store: definitions apart, ambiguities named with the option that decides, items attached in order."""

from __future__ import annotations

import numpy as np
import pytest
from store_records import make_checkpoint, make_run, make_shard, make_task

from forecast.core.errors import UsageError
from forecast.core.observation_rows import ObservationRow
from forecast.core.records import RunStatus, TaskRecord
from forecast.store import Store


def score(store: Store, task: TaskRecord, sizes: tuple[int, ...], *, dtype: str = "float32", complete: bool = True) -> None:
    for size in sizes:
        checkpoint = make_checkpoint(f"toy-{size}", params=10**size)
        run = make_run(checkpoint, task, dtype=dtype)
        store.open_run(run, checkpoint, task)
        store.append(make_shard(run, task, None if complete else range(3)))
        store.close_run(run.run_id, RunStatus.COMPLETE, None)
    store.commit()


def test_a_ladder_per_family_and_task_with_its_items(filled: Store) -> None:
    by_task = {ladder.task: ladder for ladder in filled.ladders(with_items=True)}
    assert sorted(by_task) == ["text", "toy", "words"]
    ladder = by_task["toy"]
    assert ladder.model == ("toy-6", "toy-7", "toy-8")
    assert ladder.chance == 0.25
    assert ladder.flops_convention == "6nd-total"
    assert ladder.items is not None
    assert ladder.items.correct["acc"].shape == (3, 20)
    for name in ("acc", "acc_norm", "acc_bytes"):
        assert ladder.items.correct[name].mean(axis=1) == pytest.approx(ladder.metrics[name])
    for name in ("nll_per_char", "nll_choice_norm", "p_gold", "bits_per_byte"):
        assert ladder.items.nll[name].mean(axis=1) == pytest.approx(ladder.metrics[name])
    assert "nll_choice_norm" not in by_task["words"].metrics


def test_several_shots_are_an_error_that_names_the_option(filled: Store) -> None:
    score(filled, make_task(shots=5), (6, 7))
    with pytest.raises(UsageError, match=r"toy of toy is stored with 0, 5 shots.*`num_fewshot=`"):
        filled.ladders(tasks=["toy"])
    (ladder,) = filled.ladders(tasks=["toy"], num_fewshot=5)
    assert (len(ladder), ladder.num_fewshot) == (2, 5)


def test_precisions_are_never_mixed_and_the_choice_is_said(filled: Store) -> None:
    score(filled, make_task(), (6,), dtype="bfloat16")
    notices: list[str] = []
    (ladder,) = filled.ladders(tasks=["toy"], notice=notices.append)
    assert len(ladder) == 3
    assert "dtype=float32" in ladder.definition
    assert "not mixed with 1 with" in notices[0]
    (other,) = filled.ladders(tasks=["toy"], dtype="bfloat16")
    assert len(other) == 1


def test_an_incomplete_run_is_seen_in_scores_and_not_fitted_on(filled: Store) -> None:
    score(filled, make_task(), (9,), complete=False)
    assert {row["n_items"] for row in filled.score_rows() if row["model"] == "toy-9"} == {3}
    (ladder,) = filled.ladders(tasks=["toy"])
    assert "toy-9" not in ladder.model


def test_finished_shards_are_seen_before_they_are_committed(store: Store) -> None:
    task = make_task()
    checkpoint = make_checkpoint()
    run = make_run(checkpoint, task)
    store.open_run(run, checkpoint, task)
    store.append(make_shard(run, task))
    (ladder,) = store.ladders()
    assert len(ladder) == 1
    assert store.info().spooled_files == 4
    before = store.score_rows()
    store.commit()
    assert store.score_rows() == before


def test_unknown_names_are_usage_errors_with_the_nearest(filled: Store) -> None:
    with pytest.raises(UsageError, match=r"task 'wordz'.*words"):
        filled.ladders(tasks=["wordz"])
    with pytest.raises(UsageError, match="family 'pythia'"):
        filled.ladders(families=["pythia"])


def test_imported_rows_stand_beside_derived_ones_with_their_provenance(filled: Store) -> None:
    rows = [
        ObservationRow(family="toy", model=f"toy-{n}", task="toy", flops=10.0**n, metrics={"acc": 0.1 * n}, source="table.csv")
        for n in (6, 7)
    ]
    filled.add_observations(rows)
    counted = {
        (row["provenance"], row["source"]): row["n"]
        for batch in filled.query("SELECT provenance, source, count(*) AS n FROM observations WHERE task = 'toy' GROUP BY ALL")
        for row in batch.to_pylist()
    }
    assert counted == {("derived", "derived"): 3, ("imported", "table.csv"): 2}
    (ladder,) = filled.ladders(tasks=["toy"])
    assert len(ladder) == 3


def test_importing_twice_changes_nothing_and_a_correction_supersedes(store: Store) -> None:
    def rows(acc: float) -> list[ObservationRow]:
        return [ObservationRow(family="f", model="m", task="t", flops=1e20, metrics={"acc": acc})]

    for acc, expected in ((0.5, [0.5]), (0.5, [0.5]), (0.6, [0.6]), (0.6, [0.6]), (0.5, [0.5])):
        store.add_observations(rows(acc), source="table")
        (ladder,) = store.ladders()
        assert ladder.metrics["acc"].tolist() == expected
    assert store.problems() == []


def test_a_validation_loss_joins_the_benchmark_rows(filled: Store) -> None:
    rows = [
        ObservationRow(
            family="toy", model=f"toy-{n}", task="validation", params=10.0**n, tokens=2e7, metrics={"loss": 5.0 - n / 10}
        )
        for n in (6, 7, 8)
    ]
    filled.add_observations(rows, source="training")
    (ladder,) = filled.ladders(tasks=["toy"])
    assert ladder.metrics["loss"] == pytest.approx([4.4, 4.3, 4.2])
    assert not np.isnan(ladder.metrics["loss"]).any()


def test_facts_of_a_checkpoint_may_be_corrected_and_never_forgotten(filled: Store) -> None:
    from dataclasses import replace

    checkpoint = make_checkpoint("toy-6", params=10**6)
    corrected = replace(checkpoint, tokens=30_000_000, flops=None, params_non_embedding=None)
    task = make_task()
    filled.open_run(make_run(checkpoint, task), corrected, task)
    filled.commit()
    row = next(row for row in filled.score_rows() if row["model"] == "toy-6" and row["task"] == "toy")
    assert (row["tokens"], row["flops"], row["params_non_embedding"]) == (30_000_000, checkpoint.flops, 500_000)
    again = Store(filled.path)
    before = again.info()
    again.open_run(make_run(checkpoint, task), corrected, task)
    again.commit()
    assert again.info() == before
