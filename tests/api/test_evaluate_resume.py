"""A resumed evaluation gives bit for bit what an uninterrupted one gives, wherever it was killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forecast.api.evaluate import EvaluationReport
from forecast.evaluation import run_in_progress as evaluate_items
from forecast.evaluation.records import OpenedRun
from forecast.evaluation.units import choose_plans, plan_of, scoring_units
from forecast.scoring import packed_forward, plain_path
from forecast.scoring.plan import make_plan
from forecast.scoring.prefix_tree import build_tree
from forecast.scoring.requests import TokenRequest
from forecast.scoring.tree_batches import cut_batches
from forecast.store import Store

Run = Callable[..., EvaluationReport]
TASKS = ["toy_choice", "toy_context", "toy_text"]
BUDGET = 90


def scores(db: Path) -> dict[tuple[str, int], tuple[float, ...]]:
    query = "SELECT run_id, item_idx, loglikelihoods FROM item_scores"
    rows = [row for part in Store(db).query(query) for row in part.to_pylist()]
    return {(row["run_id"], row["item_idx"]): tuple(row["loglikelihoods"]) for row in rows}


@pytest.fixture
def flush_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is finished is durable soon, as after ten seconds of a long run."""
    monkeypatch.setattr(evaluate_items, "_FLUSH_ITEMS", 4)


def killed_after(n_batches: int, evaluate: Callable[[], object], *, module: Any, name: str) -> None:
    """Evaluate in a process that kills itself with SIGKILL before a forward pass."""
    honest = getattr(module, name)
    calls = 0

    def counted(*args: Any, **settings: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > n_batches:
            os.kill(os.getpid(), signal.SIGKILL)
        return honest(*args, **settings)

    def work() -> None:
        setattr(module, name, counted)
        evaluate()

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.usefixtures("flush_at_once")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_kills_inside_a_checkpoint_change_no_bit(checkpoints: list[Path], run: Run, tmp_path: Path) -> None:
    whole = tmp_path / "whole.duckdb"
    run(checkpoints[0], TASKS, db=whole, token_budget=BUDGET)
    expected = scores(whole)
    for n_batches in (4, 11):
        db = tmp_path / f"killed-{n_batches}.duckdb"

        def evaluate(db: Path = db) -> object:
            return run(checkpoints[0], TASKS, db=db, token_budget=BUDGET)

        killed_after(n_batches, evaluate, module=packed_forward.PackedModel, name="score_batch")
        assert 0 < len(scores(db)) < len(expected)
        if n_batches == 4:
            killed_after(n_batches, evaluate, module=packed_forward.PackedModel, name="score_batch")
        evaluate()
        assert scores(db) == expected


@pytest.mark.usefixtures("flush_at_once")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("deterministic", [True, False])
def test_the_plain_way_is_resumed_bit_for_bit_too(
    deterministic: bool, checkpoints: list[Path], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_forward, "why_unsupported", lambda *_: "not today")
    options: dict[str, Any] = {"token_budget": 200, "deterministic": deterministic}
    run(checkpoints[0], TASKS, db=tmp_path / "whole.duckdb", **options)

    def evaluate() -> object:
        return run(checkpoints[0], TASKS, db=tmp_path / "killed.duckdb", **options)

    killed_after(7, evaluate, module=plain_path, name="score_inputs")
    evaluate()
    assert scores(tmp_path / "killed.duckdb") == scores(tmp_path / "whole.duckdb")


@pytest.mark.usefixtures("flush_at_once")
def test_a_kill_while_runs_are_registered_changes_no_bit(
    checkpoints: list[Path], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(checkpoints[0], TASKS, db=tmp_path / "whole.duckdb", token_budget=BUDGET)
    honest, calls = Store.open_run, []

    def interrupted(self: Store, *args: Any) -> frozenset[int]:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return honest(self, *args)

    monkeypatch.setattr(Store, "open_run", interrupted)
    db = tmp_path / "killed.duckdb"
    with pytest.raises(KeyboardInterrupt):
        run(checkpoints[0], TASKS, db=db, token_budget=BUDGET)
    run(checkpoints[0], TASKS, db=db, token_budget=BUDGET)
    assert scores(db) == scores(tmp_path / "whole.duckdb")


def test_a_task_added_later_is_planned_by_itself(checkpoints: list[Path], run: Run, tmp_path: Path) -> None:
    first = run(checkpoints[0], ["toy_choice"], token_budget=BUDGET).rows
    both = run(checkpoints[0], ["toy_choice", "toy_context"], token_budget=BUDGET).rows
    alone = run(checkpoints[0], ["toy_context"], db=tmp_path / "alone.duckdb", token_budget=BUDGET).rows
    assert {row["tokens_computed"] for row in both} == {first[0]["tokens_computed"], alone[0]["tokens_computed"]}
    assert {key: value for key, value in scores(tmp_path / "results.duckdb").items() if key[0] == alone[0]["run_id"]} == scores(
        tmp_path / "alone.duckdb"
    )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("carry_limit", [1000, 6, 2])
def test_chosen_batches_carry_what_they_would_carry_among_all(seed: int, carry_limit: int) -> None:
    generator = np.random.default_rng(seed)
    requests = [
        TokenRequest(owner=i, inputs=tuple(map(int, generator.integers(0, 3, generator.integers(3, 14)))), targets=(1,))
        for i in range(80)
    ]
    plan = make_plan(requests)
    tree = build_tree(requests)
    wanted = generator.random(len(requests)) < 0.08
    rows = plan.rows_of(wanted)
    every = {batch.start: batch for batch in cut_batches(tree, 12, carry_limit=carry_limit)}
    chosen = list(cut_batches(tree, 12, carry_limit=carry_limit, rows=rows))
    assert 0 < len(chosen) < len(every)
    held: dict[int, int] = {}
    """Entry of the tree -> the batch in which the keys and values at hand were computed."""
    for batch in chosen:
        twin = every[batch.start]
        assert (batch.stop, batch.carried, batch.recomputed) == (twin.stop, twin.carried, twin.recomputed)
        assert batch.tokens.tolist() == twin.tokens.tolist()
        path = tree.ancestors(batch.start)
        carried = path[: batch.carried].tolist()
        assert [held[entry] for entry in carried] == [source(every, tree, batch.start, entry) for entry in carried]
        keys = np.concatenate([path, np.arange(batch.start, batch.stop)]).tolist()
        at_hand = {entry: held[entry] if entry in carried else batch.start for entry in keys}
        held = {keys[position]: at_hand[keys[position]] for position in batch.kept.tolist()}
    covered = [range(batch.row_start, batch.row_stop) for batch in chosen]
    assert set(np.flatnonzero(rows).tolist()) <= {row for part in covered for row in part}


def source(every: dict[int, Any], tree: Any, start: int, entry: int) -> int:
    """The batch whose computation of an entry a batch sees, by walking through all batches."""
    computed = 0
    for first, batch in every.items():
        if first >= start:
            break
        if batch.start <= entry < batch.stop or (batch.recomputed and entry in tree.ancestors(first)):
            computed = first
    return computed


def test_plans_are_remembered_and_found_again() -> None:
    asked = {"r1": "a", "r2": "b", "r3": "c"}
    both, all_three = plan_of(["a", "b"]), plan_of(["c", "a", "b"])
    assert choose_plans(asked, {}) == dict.fromkeys(asked, all_three)
    assert choose_plans(asked, {"r1": both, "r2": both}) == {"r1": both, "r2": both, "r3": plan_of(["c"])}
    # Killed after the first of three runs was registered.
    assert choose_plans(asked, {"r1": all_three}) == dict.fromkeys(asked, all_three)
    # Runs of an earlier version have no plan; what is missing of them is planned by itself.
    assert choose_plans(asked, {"r1": "", "r2": "", "r3": ""}) == dict.fromkeys(asked, "")


def test_an_unfinished_plan_is_made_again_with_its_finished_tasks() -> None:
    class Task:
        def __init__(self, task_id: str) -> None:
            self.task_id = self.run_id = task_id

    def opened(task_id: str, *, finished: bool) -> OpenedRun:
        record = type("Record", (), {"items": (0, 1)})
        task = type("Rendered", (), {"record": record})
        return OpenedRun(run=Task(task_id), task=task, done=frozenset({0, 1} if finished else {0}))  # type: ignore[arg-type]

    a, b = opened("a", finished=True), opened("b", finished=False)
    plan = plan_of(["a", "b"])
    assert scoring_units([a, b], {"a": plan, "b": plan}) == [(a, b)]
    assert scoring_units([b], {"b": plan}) == [(b,)]
    assert scoring_units([a], {"a": plan}) == []
    assert scoring_units([a, b], {"a": "", "b": ""}) == [(b,)]


def test_the_plan_is_in_the_runs_metadata(checkpoints: list[Path], run: Run, tmp_path: Path) -> None:
    run(checkpoints[0], ["toy_choice"])
    [row] = [
        row
        for part in Store(tmp_path / "results.duckdb").query("SELECT metadata, task_id FROM runs")
        for row in part.to_pylist()
    ]
    assert json.loads(row["metadata"])["planned_with"] == plan_of([row["task_id"]])
