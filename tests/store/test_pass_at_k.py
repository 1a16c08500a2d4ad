"""pass@k in SQL against counting all choices of k answers."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from forecast.core.records import GeneratedAnswer, RunStatus
from forecast.store import Store


def test_pass_at_k_is_the_share_of_choices_of_k_answers_with_a_right_one(store: Store) -> None:
    from store_records import make_checkpoint, make_run, make_shard, make_task

    task = make_task("written", choices=1, items=6, output_type="generate_until")
    checkpoint = make_checkpoint()
    run = make_run(checkpoint, task)
    rng = np.random.default_rng(0)
    right = [(rng.random(7) < share).tolist() for share in (0.0, 0.15, 0.3, 0.5, 0.9, 1.0)]
    answers = tuple(
        tuple(GeneratedAnswer(sample_idx=i, text=str(i), n_tokens=1, stopped=True, correct=good) for i, good in enumerate(row))
        for row in right
    )
    store.open_run(run, checkpoint, task)
    store.append(replace(make_shard(run, task), generations=answers))
    store.close_run(run.run_id, RunStatus.COMPLETE, None)
    store.commit()
    for k in (1, 2, 5, 7):
        sql = f"SELECT item_idx, pass_at_k FROM pass_at_k('{run.run_id}', {k}) ORDER BY item_idx"
        found = [row["pass_at_k"] for batch in store.query(sql) for row in batch.to_pylist()]
        expected = [np.mean([any(chosen) for chosen in itertools.combinations(row, k)]) for row in right]
        assert found == pytest.approx(expected)
    assert [row for batch in store.query(f"SELECT * FROM pass_at_k('{run.run_id}', 8)") for row in batch.to_pylist()] == []
    [row] = store.score_rows()
    assert (row["pass_rate"], row["num_samples"]) == (pytest.approx(np.mean(right)), 7)
    assert row["exact_match"] is None


def test_probabilities_of_long_answers_do_not_vanish(store: Store) -> None:
    from store_records import make_checkpoint, make_run, make_shard, make_task

    task = make_task("long", choices=1, items=3, output_type="generate_until")
    checkpoint = make_checkpoint()
    run = make_run(checkpoint, task)
    shard = make_shard(run, task)
    nll = np.array([180.0, 181.5, 600.0])
    store.open_run(run, checkpoint, task)
    store.append(replace(shard, loglikelihoods=tuple((-value,) for value in nll.tolist())))
    store.close_run(run.run_id, RunStatus.COMPLETE, None)
    store.commit()
    [row] = store.score_rows()
    p = np.exp(-nll)
    assert row["p_exact"] == pytest.approx(p.mean(), rel=1e-9, abs=0)
    assert row["p_exact_sem"] == pytest.approx(p.std(ddof=1) / np.sqrt(3), rel=1e-9, abs=0)
    assert (row["chance"], row["exact_match"]) == (None, None)
