"""Models compared item by item: the same items, in the same words, of one checkpoint each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from forecast.api.item_comparison import compare_items
from forecast.core.errors import InputError, UsageError
from forecast.core.hashing import content_hash
from forecast.core.progress import SilentProgress
from forecast.core.records import CheckpointRecord, ItemRecord, RunRecord, RunStatus, ScoredShard, TaskRecord, make_item
from forecast.store import Store


class Lab:
    """A results file that answers are written into by hand."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = Store(path)

    def answer(
        self,
        model: str,
        task: str,
        right: Sequence[bool],
        *,
        shots: int = 0,
        step: int | None = None,
        is_final: bool = True,
        first: int = 0,
        words: str = "question",
        dtype: str = "float32",
    ) -> None:
        items: list[ItemRecord] = [
            make_item(first + i, f"{task} {words} {first + i}", ("yes", "no"), ("yes", "no"), (0,)) for i in range(len(right))
        ]
        record = TaskRecord(
            task_id=content_hash([task, shots, first, len(right), words]),
            task=task,
            num_fewshot=shots,
            fewshot_seed=None,
            output_type="multiple_choice",
            definition_hash=content_hash(task),
            items=tuple(items),
        )
        checkpoint = CheckpointRecord(
            checkpoint_id=content_hash([model, step]), family="f", model=model, step=step, is_final=is_final
        )
        run = RunRecord(
            run_id=content_hash([model, step, record.task_id, dtype]),
            checkpoint_id=checkpoint.checkpoint_id,
            task_id=record.task_id,
            dtype=dtype,
            device="cpu",
            backend="native",
            scoring_version="1",
        )
        self.store.open_run(run, checkpoint, record)
        self.store.append(
            ScoredShard(
                run_id=run.run_id,
                item_idx=tuple(item.item_idx for item in items),
                loglikelihoods=tuple((-1.0, -2.0) if good else (-2.0, -1.0) for good in right),
                n_tokens=((1, 1),) * len(right),
                is_greedy=((False, False),) * len(right),
            )
        )
        self.store.close_run(run.run_id, RunStatus.COMPLETE, None)
        self.store.commit()


@pytest.fixture(name="lab")
def lab_fixture(tmp_path: Path) -> Lab:
    return Lab(tmp_path / "r.duckdb")


def test_means_differences_and_changed_items(lab: Lab) -> None:
    a, b = [True, True, True, False] * 25, [True, False, False, False] * 25
    lab.answer("a", "t", a)
    lab.answer("b", "t", b)
    [one] = compare_items(lab.path, ["a", "b"])
    assert (one.task, one.a, one.b, one.metric, one.n_items, one.n_clusters) == ("t", "a", "b", "acc", 100, None)
    assert (one.mean_a, one.mean_b, one.difference) == (0.75, 0.25, 0.5)
    assert one.se == pytest.approx(np.std(np.subtract(a, b, dtype=float), ddof=1) / 10)
    assert one.p_value == pytest.approx(2 * 0.5**50)
    assert one.a_higher_items == tuple(str(i) for i in range(100) if i % 4 in (1, 2))
    assert (one.a_higher, one.b_higher, one.is_significant) == (50, 0, True)
    [back] = compare_items(lab.path, "b,a", tasks="t", metric="acc-norm")
    assert (back.metric, back.difference) == ("acc_norm", -0.5)
    [loss] = compare_items(lab.path, ["a", "b"], metric="nll_per_char")
    assert loss.difference < 0


def test_several_models_and_tasks_are_adjusted_together(lab: Lab) -> None:
    rng = np.random.default_rng(0)
    for model, skill in (("a", 0.8), ("b", 0.5), ("c", 0.5)):
        for task in ("t", "u"):
            lab.answer(model, task, (rng.random(60) < skill).tolist())
    found = compare_items(lab.path, ["a", "b", "c"])
    assert [(one.task, one.a, one.b) for one in found] == [
        ("t", "a", "b"), ("u", "a", "b"), ("t", "a", "c"), ("u", "a", "c"), ("t", "b", "c"), ("u", "b", "c"),
    ]  # fmt: skip
    smallest = min(found, key=lambda one: one.p_value)
    assert smallest.p_adjusted == pytest.approx(6 * smallest.p_value)
    assert all(one.p_adjusted >= one.p_value for one in found)


def test_a_group_is_one_comparison_clustered_by_its_tasks(lab: Lab) -> None:
    rng = np.random.default_rng(1)
    for model in ("a", "b"):
        for subject in ("mmlu_anatomy", "mmlu_virology", "mmlu_astronomy"):
            lab.answer(model, subject, (rng.random(30) < 0.5).tolist(), shots=5)
    [one] = compare_items(lab.path, ["a", "b"], tasks="mmlu")
    assert (one.task, one.n_items, one.n_clusters, one.num_fewshot) == ("mmlu", 90, 3, 5)
    assert all(item.startswith("mmlu_") for item in one.a_higher_items)


def test_only_items_that_both_answered_in_the_same_words_count(lab: Lab) -> None:
    lab.answer("a", "t", [True] * 20)
    lab.answer("b", "t", [False] * 20, first=10)
    said = SilentProgress()
    [one] = compare_items(lab.path, ["a", "b"], progress=said)
    assert one.n_items == 10
    assert "10 items are compared; 10 of 'a' and 10 of 'b'" in said.notices[0]
    assert one.warnings == tuple(said.notices)
    lab.answer("c", "t", [True] * 20, words="riddle")
    with pytest.raises(InputError, match="share no item of t"):
        compare_items(lab.path, ["a", "c"], tasks=["t"], progress=said)
    with pytest.raises(InputError, match="not asked the same items"):
        compare_items(lab.path, ["a", "c"], progress=said)


def test_shots_are_never_mixed(lab: Lab) -> None:
    lab.answer("a", "t", [True, False] * 9)
    lab.answer("a", "t", [True] * 18, shots=5)
    lab.answer("b", "t", [False] * 18, shots=5)
    [one] = compare_items(lab.path, ["a", "b"])
    assert (one.num_fewshot, one.mean_a) == (5, 1.0)
    lab.answer("b", "t", [False] * 18)
    assert [one.task for one in compare_items(lab.path, ["a", "b"])] == ["t@0shot", "t@5shot"]
    with pytest.raises(UsageError, match="stored with 0, 5 shots"):
        compare_items(lab.path, ["a", "b"], tasks="t")
    [one] = compare_items(lab.path, ["a", "b"], tasks="t", num_fewshot=0)
    assert one.mean_a == 0.5
    with pytest.raises(UsageError, match="not asked of both models with the same shots"):
        compare_items(lab.path, ["a", "b"], tasks="t", num_fewshot=3)


def test_a_model_is_its_final_checkpoint_or_the_one_that_is_named(lab: Lab) -> None:
    lab.answer("a", "t", [False] * 8, step=10, is_final=False)
    lab.answer("a", "t", [True] * 8, step=100)
    lab.answer("b", "t", [True, False] * 4)
    said = SilentProgress()
    [one] = compare_items(lab.path, ["a", "b"], progress=said)
    assert one.mean_a == 1.0
    assert "of 2 runs" in said.notices[0]
    [early] = compare_items(lab.path, ["a@step10", "b"], progress=said)
    assert early.mean_a == 0.0
    lab.answer("b", "t", [True] * 8, dtype="bfloat16")
    [one] = compare_items(lab.path, ["a", "b"], progress=said)
    assert one.mean_b == 0.5
    lab.answer("d", "t", [True] * 8, dtype="bfloat16")
    lab.answer("d", "t", [True] * 8, dtype="float16")
    with pytest.raises(UsageError, match="'d' has 2 runs on t: d bfloat16; d float16"):
        compare_items(lab.path, ["a", "d"], progress=said)


def test_mistakes_are_named(lab: Lab, tmp_path: Path) -> None:
    lab.answer("alpha", "t", [True])
    lab.answer("beta", "t", [True])
    with pytest.raises(UsageError, match="did you mean 'alpha'"):
        compare_items(lab.path, ["alpah", "beta"])
    with pytest.raises(UsageError, match="'beta' twice"):
        compare_items(lab.path, ["beta", "beta"])
    with pytest.raises(UsageError, match="one model"):
        compare_items(lab.path, ["beta"])
    with pytest.raises(UsageError, match="there is no metric 'acc_nrom'"):
        compare_items(lab.path, ["alpha", "beta"], metric="acc_nrom")
    with pytest.raises(InputError, match="there is no"):
        compare_items(tmp_path / "none.duckdb", ["alpha", "beta"])
    (tmp_path / "t.csv").write_text("family,model,task,acc\n", encoding="utf-8")
    with pytest.raises(InputError, match="where items are stored"):
        compare_items(tmp_path / "t.csv", ["alpha", "beta"])
    [one] = compare_items(lab.path, ["alpha", "beta"])
    assert (one.n_items, one.se, one.detectable, one.p_value) == (1, None, None, 1.0)


def test_the_command_prints_a_table_and_json(lab: Lab) -> None:
    from typer.testing import CliRunner

    from forecast.cli.app import build_app

    right = [True, False] * 20
    lab.answer("a", "t", right)
    lab.answer("b", "t", right[::-1])
    lab.answer("c", "t", [True] * 40)
    run = CliRunner()
    base = ["compare", "--items", "--db", str(lab.path)]
    shown = run.invoke(build_app(), [*base, "a", "c"])
    assert shown.exit_code == 0
    assert all(word in shown.output for word in ("acc (%)", "50.0", "100.0", "-50"))
    [one] = json.loads(run.invoke(build_app(), [*base, "a", "b", "--json"]).output)
    promised = "task a b metric mean_a mean_b difference se p_value p_adjusted n_items detectable"
    assert set(promised.split()) <= set(one)
    assert (one["a_higher"], one["b_higher"], one["p_value"]) == (20, 20, 1.0)
    assert len(json.loads(run.invoke(build_app(), [*base, "a,b,c", "--task", "t", "--json"]).output)) == 3
    for wrong in (["a"], ["a", "b", "--at", "0.5"], ["a", "b", "--plot", "p.png"]):
        assert isinstance(run.invoke(build_app(), [*base, *wrong]).exception, UsageError)
