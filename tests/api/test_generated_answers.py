"""Generated tasks from their definition to the store: lm-eval's numbers item by item, draws, kills and bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from forecast.core.errors import ForecastError, UsageError
from forecast.core.progress import SilentProgress
from forecast.store import Store

if TYPE_CHECKING:
    from forecast.api.evaluate import EvaluationReport

Run = Callable[..., "EvaluationReport"]

TASKS = {
    "gen_plain": "doc_to_target: '{{choices[gold]}}'\ngeneration_kwargs: {until: ['a', 'x'], max_gen_toks: 12}",
    "gen_regex": """doc_to_target: "{{gold}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 16, do_sample: false}
filter_list:
  - name: strict-match
    filter: [{function: regex, regex_pattern: "([0-9])"}, {function: take_first}]
  - name: flexible-extract
    filter: [{function: regex, regex_pattern: "([a-z])", group_select: -1}, {function: take_first}]""",
    "gen_several": "doc_to_target: '{{choices}}'\ngeneration_kwargs: {until: ['q'], max_gen_toks: 8}",
    "gen_maj": """doc_to_target: "{{choices[gold]}}"
repeats: 3
generation_kwargs: {until: ["q"], max_gen_toks: 6, do_sample: true, temperature: 0.8}
filter_list:
  - {name: maj@3, filter: [{function: take_first_k, k: 3}, {function: majority_vote}, {function: take_first}]}
  - {name: first, filter: [{function: take_first}]}""",
}


@pytest.fixture(name="definitions", scope="module")
def definitions_fixture(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generated")
    for name, rest in TASKS.items():
        (folder / f"{name}.yaml").write_text(
            f"task: {name}\ndataset_path: toy/choice\noutput_type: generate_until\ntraining_split: train\ntest_split: test\n"
            f'doc_to_text: "Q: {{{{question}}}}\\nA:"\nfewshot_split: train\n{rest}\n'
            "metric_list:\n  - {metric: exact_match, aggregation: mean, higher_is_better: true, ignore_case: true}\n",
            encoding="utf-8",
        )
    return folder


def stored(db: Path, sql: str) -> list[dict[str, Any]]:
    return [row for batch in Store(db).query(sql) for row in batch.to_pylist()]


def lm_eval_samples(folder: Path, definitions: Path, world: Path, task: str, shots: int) -> list[dict[str, Any]]:
    import lm_eval
    from lm_eval.tasks import TaskManager

    from forecast.scoring.data_mirror import find_splits

    config = {"dataset_path": "toy/choice", "test_split": "test", "training_split": "train", "fewshot_split": "train"}
    files = {name: str(path) for name, path in find_splits(config, world / "data").items()}
    own = definitions.parent / f"{task}-local"
    own.mkdir(exist_ok=True)
    text = (definitions / f"{task}.yaml").read_text(encoding="utf-8")
    kwargs = f"dataset_path: json\ndataset_kwargs: {json.dumps({'data_files': files})}"
    (own / f"{task}.yaml").write_text(text.replace("dataset_path: toy/choice", kwargs), encoding="utf-8")
    found = lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": str(folder), "dtype": "float32"},
        tasks=[task],
        task_manager=TaskManager(include_path=str(own)),
        num_fewshot=shots,
        device="cpu",
        batch_size=1,
        log_samples=True,
        bootstrap_iters=0,
    )
    samples: list[dict[str, Any]] = found["samples"][task]
    return samples


@pytest.mark.parametrize(("task", "shots"), [("gen_plain", 0), ("gen_regex", 3), ("gen_several", 1)])
def test_answers_and_numbers_are_lm_evals(
    run: Run, checkpoints: list[Path], definitions: Path, world: Path, tmp_path: Path, task: str, shots: int
) -> None:
    report = run(checkpoints[0], [task], include_path=definitions, num_fewshot=shots)
    report.check()
    db = tmp_path / "results.duckdb"
    expected = lm_eval_samples(checkpoints[0], definitions, world, task, shots)
    answers = {row["item_idx"]: row for row in stored(db, "SELECT * FROM generations")}
    assert len(answers) == 30
    texts = {sample["doc_id"]: sample["resps"][0][0] for sample in expected}
    assert {item: row["text"] for item, row in answers.items()} == texts
    values = {
        (row["item_idx"], row["filter"]): row["value"]
        for row in stored(db, "SELECT * FROM generation_metrics WHERE metric = 'exact_match'")
    }
    assert values == {(sample["doc_id"], sample["filter"]): sample["exact_match"] for sample in expected}
    [row] = stored(db, "SELECT * FROM scores")
    assert row["exact_match"] == pytest.approx(sum(answer["correct"] for answer in answers.values()) / 30)
    assert (row["pass_rate"], row["num_samples"], row["chance"]) == (None, None, 0.0)
    assert row["nll_per_char"] is not None
    assert len(stored(db, "SELECT * FROM item_scores")) == 30


def test_gold_likelihoods_are_those_of_a_run_without_answers(
    run: Run, checkpoints: list[Path], definitions: Path, tmp_path: Path
) -> None:
    run(checkpoints[0], ["gen_plain"], include_path=definitions).check()
    run(checkpoints[0], ["gen_plain"], include_path=definitions, gold_only=True).check()
    rows = stored(tmp_path / "results.duckdb", "SELECT run_id, nll_gold, n_items FROM scores")
    assert len({row["run_id"] for row in rows}) == 2
    assert len({row["nll_gold"] for row in rows}) == 1
    counts = stored(tmp_path / "results.duckdb", "SELECT run_id, count(*) AS n FROM generations GROUP BY run_id")
    assert [row["n"] for row in counts] == [30]


def test_draws_and_the_tasks_own_repeats(run: Run, checkpoints: list[Path], definitions: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"include_path": definitions, "limit": 6}
    run(checkpoints[0], ["gen_plain"], samples=5, temperature=1.0, **settings).check()
    run(checkpoints[0], ["gen_maj"], **settings).check()
    db = tmp_path / "results.duckdb"
    drawn = stored(db, "SELECT item_idx, list(sample_idx ORDER BY sample_idx) AS n FROM generations GROUP BY run_id, item_idx")
    assert sorted(len(row["n"]) for row in drawn) == [3] * 6 + [5] * 6
    assert all(row["n"] == list(range(len(row["n"]))) for row in drawn)
    [row] = stored(db, "SELECT * FROM scores WHERE task = 'gen_plain'")
    right = stored(
        db, "SELECT avg(correct::INTEGER) AS share FROM generations JOIN runs USING (run_id) WHERE task = 'gen_plain'"
    )
    assert (row["pass_rate"], row["exact_match"], row["num_samples"]) == (pytest.approx(right[0]["share"]), None, 5)
    p = stored(db, "SELECT avg(exp(-nll_gold)) AS p FROM item_metrics JOIN runs USING (run_id) WHERE task = 'gen_plain'")
    assert row["p_exact"] == pytest.approx(p[0]["p"])
    filters = {row["filter"] for row in stored(db, "SELECT DISTINCT filter FROM generation_metrics")}
    assert {"maj@3", "first", "none"} <= filters
    again = tmp_path / "again.duckdb"
    run(checkpoints[0], ["gen_plain"], samples=5, temperature=1.0, db=again, token_budget=64, **settings).check()
    sql = "SELECT item_idx, sample_idx, text FROM generations JOIN runs USING (run_id) WHERE task = 'gen_plain' ORDER BY ALL"
    assert stored(again, sql) == stored(db, sql)


def test_a_stopped_evaluation_goes_on_with_the_same_answers(
    run: Run, checkpoints: list[Path], definitions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from forecast.evaluation.run_in_progress import RunInProgress

    settings: dict[str, Any] = {"include_path": definitions, "samples": 2, "temperature": 0.9, "token_budget": 120}
    run(checkpoints[1], ["gen_plain"], **settings).check()
    add, seen = RunInProgress.add_answer, []

    def stop(self: RunInProgress, *asked: Any) -> None:
        seen.append(asked)
        if len(seen) == 25:
            raise KeyboardInterrupt
        add(self, *asked)

    other = tmp_path / "other.duckdb"
    monkeypatch.setattr(RunInProgress, "add_answer", stop)
    with pytest.raises(KeyboardInterrupt):
        run(checkpoints[1], ["gen_plain"], db=other, **settings)
    monkeypatch.setattr(RunInProgress, "add_answer", add)
    before = stored(other, "SELECT count(*) AS n FROM item_scores")[0]["n"]
    assert 0 < before < 30
    run(checkpoints[1], ["gen_plain"], db=other, **settings).check()
    sql = "SELECT item_idx, sample_idx, text, correct FROM generations ORDER BY ALL"
    assert stored(other, sql) == stored(tmp_path / "results.duckdb", sql)
    scores = "SELECT item_idx, loglikelihoods FROM item_scores ORDER BY item_idx"
    assert stored(other, scores) == stored(tmp_path / "results.duckdb", scores)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"samples": 4}, "of a greedy request"),
        ({"samples": 4, "temperature": 0.0}, "all answers would be the same one"),
        ({"top_p": 0.9}, "without `temperature=`"),
        ({"temperature": -1.0}, "`temperature=` -1"),
        ({"gold_only": True, "samples": 2, "temperature": 1.0}, "`gold_only=` beside"),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_anything_is_stored(
    run: Run, checkpoints: list[Path], definitions: Path, tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        run(checkpoints[0], ["gen_plain"], include_path=definitions, **settings)
    db = tmp_path / "results.duckdb"
    assert not db.exists() or not stored(db, "SELECT * FROM runs")


def test_answers_that_no_stop_string_ended_are_reported(run: Run, checkpoints: list[Path], definitions: Path) -> None:
    said = SilentProgress()
    run(checkpoints[0], ["gen_several"], include_path=definitions, max_gen_tokens=1, progress=said).check()
    assert any("reached the limit of 1 tokens without a stop string" in text for text in said.notices)
    report = run(checkpoints[0], ["gen_plain"], include_path=definitions, max_gen_tokens=256)
    with pytest.raises(ForecastError, match="may have 256 tokens, and the model's window 256"):
        report.check()
