"""Tasks of a family share the scale of their intervals: the same whichever are asked for, and never by what is hidden."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from forecast.core.forecasts import Target
from forecast.core.observation_rows import to_ladders
from forecast.core.observations import Ladder
from forecast.forecasting.provenance import data_hash
from forecast.importers import read_observations
from forecast.store import Store
from forecast.workflows.ladders import load_with_siblings
from forecast.workflows.predict import Prediction, Question, predict, predict_ladder, predict_ladders

Simulate = Callable[..., Ladder]
TARGETS = (Target(name="t", flops=3e22),)
JUMPS = np.array([0.3, 0.301, 0.302, 0.6, 0.601, 0.602, 0.9, 0.901])


@pytest.fixture
def ladders(simulate: Simulate) -> list[Ladder]:
    """Four ordinary tasks, and one that jumps where nothing announced it."""
    tasks = [
        replace(simulate(sizes=8, ratios=(20.0,), hardness=1.2 + 0.1 * i, seed=i), task=f"quiz{i}", definition="")
        for i in range(4)
    ]
    return [*tasks, replace(tasks[0], task="jumps", metrics={"acc": JUMPS})]


def _table(ladders: Sequence[Ladder], path: Path) -> Path:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["family", "model", "task", "params", "tokens", "flops", "acc", "n_items", "chance", "is_final"])
        for ladder in ladders:
            for row, model in enumerate(ladder.model):
                numbers = (ladder.params[row], ladder.tokens[row], ladder.flops[row], ladder.metrics["acc"][row])
                writer.writerow(["simulated", model, ladder.task, *numbers, 1000, 0.25, "true"])
    return path


def _interval(prediction: Prediction) -> tuple[float, float, float]:
    accuracy = prediction.forecast.accuracy
    return accuracy.lo, accuracy.point, accuracy.hi


@pytest.mark.parametrize("stored", [False, True], ids=["table", "database"])
def test_a_forecast_does_not_depend_on_what_else_is_asked(ladders: list[Ladder], tmp_path: Path, stored: bool) -> None:
    source = _table(ladders, tmp_path / "runs.csv")
    if stored:
        Store(tmp_path / "runs.duckdb").add_observations(read_observations(source))
        source = tmp_path / "runs.duckdb"
    (alone,) = predict(source, tasks=["quiz1"], targets=TARGETS)
    together = predict(source, tasks=["quiz2", "jumps", "quiz1"], targets=TARGETS)
    assert _interval(alone) == _interval(together[-1])
    assert alone.forecast.backtest.other_tasks == 4
    assert {ladder.task for ladder in alone.siblings} == {"quiz0", "quiz2", "quiz3", "jumps"}


def test_items_of_a_task_that_is_asked_too_change_nothing(simulate: Simulate) -> None:
    """What stands beside a task is read without items, so an asked task beside it counts without them as well."""
    tasks = [replace(simulate(sizes=6, ratios=(20.0,), items=200, seed=i, with_items=True), task=f"quiz{i}") for i in range(3)]
    stored = [replace(ladder, items=None) for ladder in tasks]
    questions = [Question(ladder=ladder, targets=TARGETS) for ladder in tasks]
    (alone,), _ = predict_ladders(questions[:1], siblings=stored)
    together, _ = predict_ladders(questions, siblings=tasks)
    assert _interval(alone) == _interval(together[0])


def test_tasks_that_jump_widen_the_others_and_leave_their_points(ladders: list[Ladder]) -> None:
    (alone,) = predict_ladder(ladders[1], TARGETS)
    wild = [replace(ladders[-1], task=f"jumps{i}") for i in range(3)]
    (found,), _ = predict_ladders([Question(ladder=ladders[1], targets=TARGETS)], siblings=wild)
    lo, point, hi = _interval(alone)
    wide_lo, wide_point, wide_hi = _interval(found)
    assert wide_point == point
    assert wide_hi - wide_lo > 1.1 * (hi - lo)


def test_a_held_out_run_is_hidden_in_every_task(ladders: list[Ladder]) -> None:
    last = ladders[0].model[-1]
    own = np.array([name == last for name in ladders[0].model])
    changed = [
        replace(ladder, metrics={name: np.where(own, 0.01, column) for name, column in ladder.metrics.items()})
        for ladder in ladders
    ]
    (honest,), (blind,) = (
        predict_ladders([Question(ladder=some[1], holdout=last)], siblings=some)[0] for some in (ladders, changed)
    )
    assert _interval(honest) == _interval(blind)
    assert honest.forecast.backtest.other_tasks == 4


def test_runs_beyond_fit_max_flops_are_hidden_in_every_task(ladders: list[Ladder]) -> None:
    top = float(ladders[0].flops[5])
    cut = [ladder.take(ladder.flops <= top) for ladder in ladders]
    (limited,), _ = predict_ladders([Question(ladder=ladders[1], targets=TARGETS, fit_max_flops=top)], siblings=ladders)
    (small,), _ = predict_ladders([Question(ladder=cut[1], targets=TARGETS)], siblings=cut)
    assert _interval(limited) == _interval(small)


def test_a_sibling_that_cannot_be_forecast_is_left_out(ladders: list[Ladder]) -> None:
    flat = replace(ladders[2], metrics={"acc": np.full(8, 0.5)})
    (found,), failed = predict_ladders([Question(ladder=ladders[1], targets=TARGETS)], siblings=[ladders[0], flat])
    assert found.forecast.backtest.other_tasks == 1
    assert not failed


def test_a_group_does_not_count_its_own_members_as_other_tasks(ladders: list[Ladder]) -> None:
    members = [replace(ladder, task=f"mmlu_{ladder.task}") for ladder in ladders[:2]]
    group = replace(ladders[2], task="mmlu")
    (found,), _ = predict_ladders([Question(ladder=group, targets=TARGETS)], siblings=[*members, ladders[3]])
    assert [ladder.task for ladder in found.siblings] == ["quiz3"]


def test_at_most_seventeen_siblings_are_read(ladders: list[Ladder], tmp_path: Path) -> None:
    many = [replace(ladders[0], task=f"task{i:02d}") for i in range(40)]
    source = _table(many, tmp_path / "runs.csv")
    first = load_with_siblings(source, tasks=["task03"], family=None)[1]
    second = load_with_siblings(source, tasks=["task21", "task07"], family=None)[1]
    assert [ladder.task for ladder in first] == [ladder.task for ladder in second]
    assert len(first) == 17


def test_the_hash_of_a_forecasts_data_covers_its_siblings(ladders: list[Ladder], tmp_path: Path) -> None:
    one, two, three = to_ladders(read_observations(_table(ladders[:3], tmp_path / "runs.csv")))
    assert data_hash(one, two, three) == data_hash(one, three, two)
    assert len({data_hash(one), data_hash(one, two), data_hash(one, three), data_hash(two, one)}) == 4
