"""Answers that models wrote: kept whole, every text once, through spool, file, export and old files alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from store_records import make_answered, make_checkpoint, make_run, make_shard, make_task

from forecast.core.errors import InputError
from forecast.core.records import GeneratedAnswer, RunRecord, RunStatus, ScoredShard, TaskRecord
from forecast.store import Store, schema

VIEWS = ("item_scores", "item_tokens", "generations", "generation_extracts", "generation_metrics", "item_metrics", "scores")


def written_task(name: str = "written", items: int = 20) -> TaskRecord:
    return make_task(name, items=items, choices=1, output_type="generate_until")


def begin(store: Store, task: TaskRecord, model: str = "toy-1m") -> RunRecord:
    checkpoint = make_checkpoint(model)
    run = make_run(checkpoint, task)
    store.open_run(run, checkpoint, task)
    return run


def read(store: Store, sql: str) -> list[dict]:
    return [row for batch in store.query(sql) for row in batch.to_pylist()]


def contents(store: Store) -> dict[str, list[str]]:
    return {view: sorted(repr(row) for row in read(store, f"FROM {view}")) for view in VIEWS}


def expected_rows(shard: ScoredShard) -> list[dict]:
    return [
        {
            "run_id": shard.run_id,
            "item_idx": item,
            "sample_idx": answer.sample_idx,
            "text": answer.text,
            "n_tokens": answer.n_tokens,
            "correct": answer.correct,
            "extracted": next(iter(answer.extracted.values()), None),
            "stopped": answer.stopped,
            "filter": next(iter(answer.extracted), None),
        }
        for item, answers in zip(shard.item_idx, shard.generations, strict=True)
        for answer in answers
    ]


@pytest.mark.parametrize("committed", [False, True])
def test_what_was_written_is_read_back(store: Store, committed: bool) -> None:
    task = written_task()
    run = begin(store, task)
    shard = make_answered(run, task, samples=5)
    for indices in (range(8), range(8, 20)):
        store.append(make_answered(run, task, indices, samples=5))
    store.close_run(run.run_id, RunStatus.COMPLETE, None)
    if committed:
        assert store.commit() == 20
    assert store.problems() == []
    assert read(store, "FROM generations ORDER BY item_idx, sample_idx") == expected_rows(shard)
    extracts = read(store, "FROM generation_extracts ORDER BY item_idx, sample_idx")
    values = read(store, "FROM generation_metrics ORDER BY item_idx, sample_idx")
    for item, answers in zip(shard.item_idx, shard.generations, strict=True):
        for answer in answers:
            mine = {row["filter"]: row["extracted"] for row in extracts if is_of(row, item, answer)}
            assert mine == answer.extracted
            assert {
                f"{row['metric']},{row['filter']}": row["value"] for row in values if is_of(row, item, answer)
            } == answer.values
    assert store.info().generations == 100


def is_of(row: dict, item: int, answer: GeneratedAnswer) -> bool:
    return row["item_idx"] == item and row["sample_idx"] == answer.sample_idx


def test_a_text_is_stored_once_whoever_writes_it(store: Store) -> None:
    task = written_task()
    texts: set[str] = set()
    for model in ("a", "b", "c"):
        run = begin(store, task, model)
        shard = make_answered(run, task, samples=7)
        store.append(shard)
        if model != "c":
            store.commit()
        texts |= {text for answers in shard.generations for one in answers for text in (one.text, *one.extracted.values())}
    stored = [row["text"] for row in read(store, "SELECT text FROM generation_texts")]
    assert sorted(stored) == sorted(texts)
    before = contents(store)
    store.commit()
    assert contents(store) == before
    assert len(read(store, "SELECT text FROM generation_texts")) == len(texts)
    assert store.problems() == []


def test_the_tokens_of_the_gold_answer(store: Store) -> None:
    task = written_task()
    run = begin(store, task)
    shard = make_answered(run, task)
    store.append(shard)
    rows = read(store, "FROM item_tokens ORDER BY item_idx, position")
    for item, values, counts in zip(shard.item_idx, shard.loglikelihoods, shard.n_tokens, strict=True):
        mine = [row for row in rows if row["item_idx"] == item]
        assert [row["position"] for row in mine] == list(range(counts[0]))
        assert sum(row["loglikelihood"] for row in mine) == pytest.approx(values[0], rel=1e-6)
    assert any(counts == (1,) for counts in shard.n_tokens)


def test_what_was_never_said_of_tokens_is_unknown(store: Store) -> None:
    task = written_task()
    run = begin(store, task)
    shard = make_shard(run, task)
    store.append(shard)
    wanted = [item for item, counts in zip(shard.item_idx, shard.n_tokens, strict=True) if counts == (1,)]
    assert [row["item_idx"] for row in read(store, "FROM item_tokens ORDER BY item_idx")] == wanted
    store.commit()
    assert read(store, "SELECT count(*) AS n FROM item_results WHERE gold_token_loglikelihoods IS NOT NULL") == [{"n": 0}]


def test_the_same_item_twice_keeps_the_first_answers_and_results_together(store: Store) -> None:
    task = written_task()
    run = begin(store, task)
    first = make_answered(run, task, range(10), samples=2)
    second = make_answered(run, task, range(5, 20), samples=2)
    other = tuple(tuple(replace(one, text=f"another {one.text}") for one in answers) for answers in second.generations)
    store.append(first)
    store.append(replace(second, generations=other))
    rows = read(store, "FROM generations ORDER BY item_idx, sample_idx")
    assert len(rows) == 40
    assert [row["text"].startswith("another") for row in rows] == [False] * 20 + [True] * 20
    assert store.commit() == 20
    store.append(replace(second, generations=other))
    assert store.commit() == 0
    assert read(store, "FROM generations ORDER BY item_idx, sample_idx") == rows
    assert store.problems() == []


def test_answers_of_items_without_a_gold_text(store: Store) -> None:
    base = written_task("judged", items=6)
    items = tuple(replace(item, choices=(), n_chars=(), n_bytes=(), gold=0) for item in base.items)
    task = replace(base, items=items, task_id="judged")
    run = begin(store, task)
    store.append(make_answered(run, task))
    store.close_run(run.run_id, RunStatus.COMPLETE, None)
    store.commit()
    assert store.problems() == []
    assert len(read(store, "FROM generations")) == 6
    assert read(store, "FROM item_tokens") == []
    (score,) = store.score_rows()
    assert score["n_items"] == 6
    names = ("nll_per_char", "nll_per_byte", "bits_per_byte", "nll_per_token", "nll_gold", "nll_choice_norm", "p_gold", "acc")
    assert {score[name] for name in names} | {score[f"{name}_sem"] for name in names} == {None}
    assert len(read(store, "FROM observations")) == 1
    with pytest.raises(InputError, match="0 loglikelihoods"):
        store.append(replace(make_answered(run, task), generations=()))


def test_means_are_over_the_items_that_have_a_gold_text(store: Store) -> None:
    base = written_task("partly", items=6)
    items = tuple(
        replace(item, choices=(), n_chars=(), n_bytes=(), gold=0) if item.item_idx % 3 == 0 else item for item in base.items
    )
    task = replace(base, items=items, task_id="partly")
    run = begin(store, task)
    shard = make_answered(run, task)
    store.append(shard)
    (score,) = store.score_rows()
    nll = np.array([-values[0] for values in shard.loglikelihoods if values])
    chars = np.array([item.n_chars[0] for item in items if item.choices])
    assert (len(nll), score["n_items"]) == (4, 6)
    assert score["nll_gold"] == pytest.approx(nll.mean(), rel=1e-12)
    assert score["nll_per_char"] == pytest.approx((nll / chars).mean(), rel=1e-12)
    assert score["nll_per_char_sem"] == pytest.approx((nll / chars).std(ddof=1) / 2.0, rel=1e-7)


def test_export_and_merge_carry_everything(store: Store, tmp_path: Path) -> None:
    task = written_task()
    for model, samples in (("a", 1), ("b", 4)):
        run = begin(store, task, model)
        store.append(make_answered(run, task, samples=samples))
        store.close_run(run.run_id, RunStatus.COMPLETE, None)
    plain = make_task("plain")
    run = begin(store, plain)
    store.append(make_shard(run, plain))
    wanted = contents(store)
    store.export(tmp_path / "out")
    other = Store(tmp_path / "other.duckdb")
    assert other.merge(tmp_path / "out") == 60
    assert other.merge(tmp_path / "out") == 0
    assert contents(other) == wanted
    assert other.problems() == []
    other.export(tmp_path / "again")
    for path in sorted((tmp_path / "out").rglob("*.parquet")):
        assert (tmp_path / "again" / path.relative_to(tmp_path / "out")).read_bytes() == path.read_bytes(), path
    other.compact()
    assert contents(other) == wanted


def test_an_older_programs_shard_may_wait_beside_a_new_one(store: Store) -> None:
    task, text = written_task(), make_task("plain")
    run, plain = begin(store, task), begin(store, text)
    store.append(make_answered(run, task, range(10), samples=2))
    for one, what, wanted in ((run, task, range(10, 20)), (plain, text, range(20))):
        store.append(make_shard(one, what, wanted))
        path = store._spool.files(["shard"], one.run_id)[-1].path
        pq.write_table(pq.read_table(path).drop_columns(["gold_token_loglikelihoods"]), path)
    assert len(read(store, "FROM item_scores")) == 40
    assert store.commit() == 40
    assert len(read(store, "FROM generations")) == 20


def test_an_old_file_shows_the_new_views_and_is_brought_forward(tmp_path: Path) -> None:
    path = tmp_path / "old.duckdb"
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{path}' AS store (STORAGE_VERSION 'v1.4.0'); USE store")
        for number, file in schema.migration_files()[:3]:
            connection.execute(file.read_text())
            connection.execute(schema._LEDGER_TABLE)
            connection.execute("INSERT INTO schema_migrations VALUES (?, 'x', '2026-01-01', '')", [number])
        connection.execute(
            """INSERT INTO item_records SELECT 1, i, 0, [], 'p' || i, 'h', ['yes'], [3], [3], '' FROM range(4) AS r(i);
            INSERT INTO task_records SELECT 1, 't', 't', 0, NULL, 'loglikelihood', 'd', '1', NULL, 4, '{}';
            INSERT INTO run_records SELECT 1, 'r', 'c', 1, 'float32', 'cpu', 'native', '1', '', '{}';
            INSERT INTO item_results SELECT 1, i, [-1.5], [1 + i % 2], [true] FROM range(4) AS r(i);
            USE memory; DETACH store"""
        )
    before = path.read_bytes()
    store = Store(path)
    tokens = [{"run_id": "r", "item_idx": item, "position": 0, "loglikelihood": -1.5} for item in (0, 2)]
    for _ in range(2):
        assert read(store, "FROM item_tokens ORDER BY item_idx") == tokens
        assert read(store, "FROM generations") == []
        assert read(store, "SELECT n_items, acc FROM scores") == [{"n_items": 4, "acc": 1.0}]
        if path.read_bytes() == before:
            store.create()
    assert store.info().schema_version == schema.newest_version()
    assert path.read_bytes() != before


def test_other_clients_read_the_views(store: Store) -> None:
    task = written_task()
    run = begin(store, task)
    store.append(make_answered(run, task, samples=2))
    store.commit()
    with duckdb.connect(str(store.path), read_only=True) as connection:
        for view in VIEWS:
            assert connection.execute(f"SELECT count(*) FROM {view}").fetchone() != (0,), view


@pytest.mark.parametrize(
    "text", ["", "a\x00b", "\ud83d\ude00", "half \ud83d", "\uffff", "e\u0301", "é", "x" * 100_000, "a\r\nb "]
)
def test_any_text_survives(store: Store, text: str) -> None:
    task = written_task(items=1)
    run = begin(store, task)
    shard = make_answered(run, task)
    (answer,) = shard.generations[0]
    store.append(replace(shard, generations=((replace(answer, text=text, extracted={"f,1": text}),),)))
    wanted = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    for _ in range(2):
        assert read(store, "SELECT text, extracted, filter FROM generations") == [
            {"text": wanted, "extracted": wanted, "filter": "f,1"}
        ]
        store.commit()
    assert store.problems() == []


def test_an_answer_without_filters_metrics_or_verdict(store: Store) -> None:
    task = written_task(items=2)
    run = begin(store, task)
    bare = GeneratedAnswer(sample_idx=0, text="", n_tokens=0, stopped=False)
    store.append(replace(make_answered(run, task), generations=((bare,), (replace(bare, values={"score": 3.5}),))))
    rows = read(store, "SELECT item_idx, text, extracted, filter, correct FROM generations ORDER BY item_idx")
    assert rows == [{"item_idx": item, "text": "", "extracted": None, "filter": None, "correct": None} for item in (0, 1)]
    assert read(store, "FROM generation_extracts") == []
    assert read(store, "SELECT item_idx, metric, filter, value FROM generation_metrics") == [
        {"item_idx": 1, "metric": "score", "filter": "", "value": 3.5}
    ]


def test_what_cannot_be_is_refused(store: Store) -> None:
    task = written_task(items=2)
    run = begin(store, task)
    shard = make_answered(run, task, samples=2)
    first, second = shard.generations[0]
    wrong = {
        "columns of different lengths": replace(shard, generations=shard.generations[:1]),
        "answers of the numbers": replace(shard, generations=((second, first), shard.generations[1])),
        "nan as bleu of answer 0": replace(shard, generations=((replace(first, values={"bleu": float("nan")}),), (first,))),
        "answer of -1 tokens": replace(shard, generations=((replace(first, n_tokens=-1),), (first,))),
        "of 9 tokens": replace(shard, gold_token_loglikelihoods=((-1.0,) * 9, ())),
        "tokens' loglikelihoods": replace(
            shard, n_tokens=((2,), (2,)), gold_token_loglikelihoods=((-1.0, float("-inf")), (-1.0, -1.0))
        ),
    }
    for message, one in wrong.items():
        with pytest.raises(InputError, match=message):
            store.append(one)
    assert store.commit() == 0


def test_damage_to_answers_is_found_and_named(store: Store) -> None:
    task = written_task()
    for model in "abcdef":
        run = begin(store, task, model)
        store.append(make_answered(run, task, samples=2))
    store.commit()
    assert store.problems() == []
    damages = {
        "answer missing or twice": "DELETE FROM generation_records WHERE run_key = 1 AND item_idx = 3 AND sample_idx = 0",
        "lack the answers that others have": "DELETE FROM generation_records WHERE run_key = 2 AND item_idx = 4",
        "without a result of their item": "DELETE FROM item_results WHERE run_key = 3 AND item_idx = 5",
        "tokens that are not those of the correct choice": (
            "UPDATE item_results SET gold_token_loglikelihoods = [-1.0, -1.0, -1.0, -1.0, -1.0, -1.0] WHERE run_key = 4"
        ),
        "generated texts that are missing": "UPDATE generation_texts SET text = 'forged' WHERE text_key = 1",
    }
    for sentence, sql in damages.items():
        list(store.execute(sql))
        assert any(sentence in problem for problem in store.problems()), sentence
