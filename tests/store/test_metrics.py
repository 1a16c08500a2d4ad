"""The SQL views against the definitions, computed the slow and obvious way in NumPy."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_records import make_checkpoint, make_run, make_task

from forecast.core.errors import InputError
from forecast.core.records import ItemRecord, RunStatus, ScoredShard, TaskRecord
from forecast.store import Store


def slow_metrics(item: ItemRecord, values: tuple[float, ...], tokens: tuple[int, ...], output_type: str, greedy: bool) -> dict:
    ll = np.array(values, dtype=np.float64)
    per_char, per_byte = ll / np.array(item.n_chars), ll / np.array(item.n_bytes)
    golds = list(item.golds or (item.gold,))
    found: dict = {
        "nll_gold": -ll[item.gold],
        "nll_per_char": -per_char[item.gold],
        "nll_per_byte": -per_byte[item.gold],
        "nll_per_token": -ll[item.gold] / tokens[item.gold] if tokens[item.gold] else None,
        "nll_choice_norm": None,
        "p_gold": None,
        "brier": None,
        "margin": None,
        "correct": None,
        "correct_norm": None,
        "correct_bytes": None,
    }
    if output_type == "loglikelihood":
        found["correct"] = greedy
    if output_type == "multiple_choice":
        found["correct"] = int(np.argmax(ll)) in golds
        found["correct_norm"] = int(np.argmax(per_char)) in golds
        found["correct_bytes"] = int(np.argmax(per_byte)) in golds
        if len(ll) > 1:
            soft = np.exp(per_char - per_char.max())
            found["nll_choice_norm"] = -math.log(soft[golds].sum() / soft.sum())
            soft = np.exp(ll - ll.max())
            found["p_gold"] = soft[golds].sum() / soft.sum()
            wrong = np.delete(soft / soft.sum(), golds)
            found["brier"] = (soft[golds].sum() / soft.sum() - 1.0) ** 2 + (wrong**2).sum()
            if len(golds) == 1:
                assert found["brier"] == pytest.approx(((soft / soft.sum() - np.eye(len(ll))[item.gold]) ** 2).sum(), abs=1e-12)
            found["margin"] = ll[golds].max() - np.delete(ll, golds).max()
    return found


def put(store: Store, task: TaskRecord, rows: list[tuple[tuple[float, ...], tuple[int, ...], bool]], model: str = "m") -> str:
    checkpoint = make_checkpoint(model)
    run = make_run(checkpoint, task)
    store.open_run(run, checkpoint, task)
    shard = ScoredShard(
        run_id=run.run_id,
        item_idx=tuple(range(len(rows))),
        loglikelihoods=tuple(values for values, _, _ in rows),
        n_tokens=tuple(tokens for _, tokens, _ in rows),
        is_greedy=tuple((greedy,) * len(values) for values, _, greedy in rows),
    )
    store.append(shard)
    store.close_run(run.run_id, RunStatus.COMPLETE, None)
    return run.run_id


def read(store: Store, sql: str) -> list[dict]:
    return [row for batch in store.query(sql) for row in batch.to_pylist()]


def check(store: Store, task: TaskRecord, rows: list) -> None:
    run_id = put(store, task, rows)
    got = read(store, f"FROM item_metrics WHERE run_id = '{run_id}' ORDER BY item_idx")
    wanted = [
        slow_metrics(item, values, tokens, task.output_type, greedy)
        for item, (values, tokens, greedy) in zip(task.items, rows, strict=True)
    ]
    for row, expected in zip(got, wanted, strict=True):
        for name, value in expected.items():
            if value is None or isinstance(value, bool):
                assert row[name] == value, name
            else:
                assert row[name] == pytest.approx(value, rel=1e-12, abs=1e-12), name
    (score,) = store.score_rows([run_id])
    for name, item_name in (("acc", "correct"), ("acc_norm", "correct_norm"), ("acc_bytes", "correct_bytes")):
        check_mean(score, name, [row[item_name] for row in wanted])
    names = ["nll_gold", "nll_choice_norm", "p_gold", "brier", "margin"]
    if task.output_type != "loglikelihood_rolling":
        names += ["nll_per_char", "nll_per_byte", "nll_per_token"]
    for name in names:
        check_mean(score, name, [row[name] for row in wanted])
    assert score["n_items"] == len(rows)


def check_mean(score: dict, name: str, values: list) -> None:
    values = [value for value in values if value is not None]
    if not values:
        assert score[name] is None
        assert score[f"{name}_sem"] is None
        return
    numbers = np.array(values, dtype=np.float64)
    assert score[name] == pytest.approx(numbers.mean(), rel=1e-12, abs=1e-12)
    if len(values) > 1:
        assert score[f"{name}_sem"] == pytest.approx(numbers.std(ddof=1) / math.sqrt(len(values)), rel=1e-7, abs=1e-9)
    else:
        assert score[f"{name}_sem"] is None


def random_rows(task: TaskRecord, seed: int) -> list:
    rng = np.random.default_rng(seed)
    return [
        (
            tuple(float(x) for x in -rng.gamma(2.0, 10.0, len(item.choices))),
            tuple(int(x) for x in rng.integers(1, 9, len(item.choices))),
            bool(rng.random() < 0.5),
        )
        for item in task.items
    ]


@pytest.mark.parametrize("choices", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("output_type", ["multiple_choice", "loglikelihood", "loglikelihood_rolling"])
def test_metrics_follow_their_definitions(store: Store, choices: int, output_type: str) -> None:
    if output_type != "multiple_choice" and choices > 1:
        choices = 1
    task = make_task("t", items=30, choices=choices, output_type=output_type)
    check(store, task, random_rows(task, choices))


def test_several_correct_choices_count_all(store: Store) -> None:
    task = make_task("many", items=40, choices=5)
    items = tuple(
        replace(item, golds=tuple(sorted({item.gold, (item.gold + 2) % 5}))) if item.item_idx % 3 else item
        for item in task.items
    )
    items = tuple(replace(item, gold=item.golds[0]) if item.golds else item for item in items)
    task = replace(task, items=items, task_id="many-golds")
    check(store, task, random_rows(task, 3))


@pytest.mark.parametrize("position", range(4))
def test_the_first_of_equals_wins_as_in_numpy(store: Store, position: int) -> None:
    task = make_task("ties", items=1)
    item = replace(task.items[0], gold=position, choices=("aa",) * 4, n_chars=(2,) * 4, n_bytes=(2,) * 4)
    check(store, replace(task, items=(item,), task_id=f"ties{position}"), [((-1.0, -1.0, -1.0, -1.0), (1,) * 4, False)])


@pytest.mark.parametrize("seed", range(3))
def test_items_of_one_task_may_differ_in_everything(store: Store, seed: int) -> None:
    """One to nine choices side by side, equal values, several correct choices, letters of several bytes, unknown tokens."""
    rng = np.random.default_rng(seed)
    base = make_task("mixed", items=120, choices=1)
    items, rows = [], []
    for item in base.items:
        count = int(rng.integers(1, 10))
        lengths = rng.integers(1, 6 if item.item_idx % 2 else 60, count)
        letters = rng.choice(["a", "é", "日"], count) if item.item_idx % 3 else ["a"] * count
        texts = tuple(letter * int(length) for letter, length in zip(letters, lengths, strict=True))
        golds = (
            tuple(sorted(int(g) for g in rng.choice(count, min(2, count - 1), replace=False))) if item.item_idx % 4 == 3 else ()
        )
        golds = golds if len(golds) > 1 else ()
        items.append(
            replace(
                item,
                choices=texts,
                gold=golds[0] if golds else int(rng.integers(count)),
                golds=golds,
                n_chars=tuple(len(text) for text in texts),
                n_bytes=tuple(len(text.encode()) for text in texts),
            )
        )
        # Few distinct values make ties of values and, through few distinct lengths, of values per character.
        values = -rng.integers(1, 5, count) * (1.0 if item.item_idx % 5 else 100.0)
        rows.append((tuple(float(x) for x in values), (0,) * count, False))
    check(store, replace(base, items=tuple(items)), rows)


def test_what_cannot_be_scored_never_enters(store: Store) -> None:
    task = make_task("broken", items=2, choices=3)
    checkpoint = make_checkpoint()
    run = make_run(checkpoint, task)
    hidden = replace(task, items=(task.items[0], replace(task.items[1], gold=-1)))
    with pytest.raises(InputError, match="names choice -1 as correct; expected 0 to 2"):
        store.open_run(run, checkpoint, hidden)
    store.open_run(run, checkpoint, task)
    tokens = (1, 1, 1)
    for values in ((-1.0, math.nan, -1.0), (-math.inf, -1.0, -1.0), (-1e300, -1.0, -1.0), (-2e6, -1.0, -1.0), (-1.0, -1.0), ()):
        with pytest.raises(InputError, match=r"item 0 of run"):
            store.append(
                ScoredShard(
                    run_id=run.run_id, item_idx=(0,), loglikelihoods=(values,), n_tokens=(tokens,), is_greedy=((False,) * 3,)
                )
            )
    assert store.commit() == 0
    assert store.score_rows() == []


def test_the_largest_values_that_enter_do_not_break_the_sums(store: Store) -> None:
    task = make_task("large", items=100)
    put(store, task, [((-9.9e6,) * 4, (10,) * 4, False)] * 100)
    text = make_task("long", items=100, choices=1, output_type="loglikelihood_rolling")
    put(store, text, [((-9.9e8,), (10**6,), False)] * 100)
    by_task = {row["task"]: row for row in store.score_rows()}
    assert by_task["large"]["nll_gold"] == 9.9e6
    assert by_task["long"]["nll_per_token"] == pytest.approx(990.0)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.lists(st.floats(-600.0, 0.0, allow_subnormal=False), min_size=3, max_size=3),
            st.lists(st.integers(1, 300), min_size=3, max_size=3),
            st.integers(0, 2),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_metrics_hold_for_any_numbers(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    store = Store(tmp_path_factory.mktemp("any") / "results.duckdb")
    base = make_task("any", items=len(rows), choices=3)
    items = tuple(
        replace(item, gold=gold, n_chars=tuple(lengths), n_bytes=tuple(2 * n for n in lengths))
        for item, (_, lengths, gold) in zip(base.items, rows, strict=True)
    )
    check(store, replace(base, items=items), [(tuple(values), (1, 1, 1), False) for values, _, _ in rows])


def test_extreme_loglikelihoods_stay_finite(store: Store) -> None:
    task = make_task("far", items=2, choices=2)
    items = tuple(
        replace(item, gold=index, choices=("a", "b"), n_chars=(1, 1), n_bytes=(1, 1)) for index, item in enumerate(task.items)
    )
    run_id = put(store, replace(task, items=items), [((0.0, -5000.0), (1, 1), True), ((0.0, -5000.0), (1, 1), True)])
    rows = read(store, f"FROM item_metrics WHERE run_id = '{run_id}' ORDER BY item_idx")
    assert [row["p_gold"] for row in rows] == [1.0, 0.0]
    assert [row["brier"] for row in rows] == [0.0, 2.0]
    assert rows[0]["nll_choice_norm"] == 0.0
    assert rows[1]["nll_choice_norm"] == 5000.0
    assert store.score_rows([run_id])[0]["nll_choice_norm"] == 2500.0


@pytest.mark.parametrize("gap", [300.0, 346.0, 353.0, 355.0, 700.0, 720.0, 6000.0])
def test_a_choice_far_better_than_the_correct_one(store: Store, gap: float) -> None:
    """Beyond some 350 nats the squares of the odds overflow, beyond 709 the odds themselves."""
    task = make_task("beaten", items=3, choices=4)
    items = tuple(replace(item, gold=1) for item in task.items)
    values = [(-gap, -2 * gap, -1.0, -gap - 1.0), (-1.0, -gap, -1.0, -1.0), (-gap, -1.0, -gap, -2.0)]
    check(store, replace(task, items=items), [(value, (1, 1, 1, 1), False) for value in values])


def test_one_of_several_correct_choices_may_be_far_worse_than_another(store: Store) -> None:
    task = make_task("apart", items=4, choices=3)
    items = tuple(
        replace(item, gold=0, golds=(0, 2), choices=("a", "b", "c"), n_chars=(1, 1, 1), n_bytes=(1, 1, 1))
        for item in task.items
    )
    values = [(-5000.0, -1.0, 0.0), (-800.0, -30.0, -31.0), (0.0, -1.0, -5000.0), (-720.0, -721.0, -2.0)]
    check(store, replace(task, items=items), [(value, (1, 1, 1), False) for value in values])


def test_rolling_text_is_weighted_by_its_units(store: Store) -> None:
    task = make_task("docs", items=12, choices=1, output_type="loglikelihood_rolling")
    rng = np.random.default_rng(5)
    lengths = rng.integers(20, 4000, 12)
    items = tuple(
        replace(item, gold=0, n_chars=(int(n),), n_bytes=(int(n) + 7,)) for item, n in zip(task.items, lengths, strict=True)
    )
    nll = lengths * rng.uniform(0.5, 1.5, 12)
    tokens = lengths // 4 + 1
    rows = [((-float(value),), (int(count),), False) for value, count in zip(nll, tokens, strict=True)]
    (score,) = store.score_rows([put(store, replace(task, items=items), rows)])
    n_bytes = lengths + 7
    assert score["bits_per_byte"] == pytest.approx(nll.sum() / n_bytes.sum() / math.log(2.0), rel=1e-12)
    assert score["nll_per_token"] == pytest.approx(nll.sum() / tokens.sum(), rel=1e-12)
    ratio = nll.sum() / n_bytes.sum()
    sem = math.sqrt(((nll - ratio * n_bytes) ** 2).sum() / (12 * 11)) / n_bytes.mean()
    assert score["nll_per_byte_sem"] == pytest.approx(sem, rel=1e-7)
    assert score["acc"] is None
    assert score["chance"] is None
    (observation,) = read(store, "FROM observations")
    assert observation["loss"] == score["nll_per_token"]


def test_lambada_like_tasks_have_accuracy_and_no_chance(filled: Store) -> None:
    rows = [row for row in filled.score_rows() if row["task"] == "words"]
    assert {row["chance"] for row in rows} == {0.0}
    assert all(row["acc"] is not None and row["nll_choice_norm"] is None and row["acc_norm"] is None for row in rows)


def test_unknown_token_counts_give_no_per_token_value(store: Store) -> None:
    task = make_task("t", items=3, choices=2)
    run_id = put(store, task, [((-1.0, -2.0), (0, 0), False)] * 3)
    (score,) = store.score_rows([run_id])
    assert score["nll_per_token"] is None
    assert score["nll_per_char"] > 0.0


def test_scores_do_not_depend_on_the_order_of_shards(tmp_path: object, store: Store) -> None:
    task = make_task("order", items=500)
    rows = random_rows(task, 11)
    checkpoint = make_checkpoint()
    run = make_run(checkpoint, task)
    seen = []
    for seed in range(4):
        other = Store(store.path.with_name(f"order{seed}.duckdb"))
        other.open_run(run, checkpoint, task)
        order = np.random.default_rng(seed).permutation(500)
        for part in np.array_split(order, 7):
            other.append(
                ScoredShard(
                    run_id=run.run_id,
                    item_idx=tuple(int(i) for i in part),
                    loglikelihoods=tuple(rows[i][0] for i in part),
                    n_tokens=tuple(rows[i][1] for i in part),
                    is_greedy=tuple((rows[i][2],) * 4 for i in part),
                )
            )
            if seed % 2:
                other.commit()
        seen.append(other.score_rows())
    assert seen[0] == seen[1] == seen[2] == seen[3]
