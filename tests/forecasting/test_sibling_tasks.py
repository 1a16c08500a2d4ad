"""Tasks of a family share the scale of their intervals: the same whichever are asked for, and never by what is hidden."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from forecast.api.predict import Prediction, predict, predict_ladder, predict_ladders
from forecast.api.report import write_report
from forecast.catalog.benchmarks import load_benchmark
from forecast.core.errors import NotForecastableError
from forecast.core.forecasts import Target
from forecast.core.observation_rows import to_ladders
from forecast.core.observations import Ladder
from forecast.forecasting.provenance import data_hash
from forecast.importers import read_observations
from forecast.observations.ladders import Wanted, load_with_siblings
from forecast.observations.questions import Question
from forecast.observations.siblings import sibling_names
from forecast.report.page import ReportContent, Section
from forecast.store import Store

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
    # A wider part of a mixture moves its median by less than it could be seen.
    assert wide_point == pytest.approx(point, abs=5e-4)
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


def test_siblings_that_are_measured_beyond_the_runs_count_up_to_them(ladders: list[Ladder]) -> None:
    """The other tasks may have the target already: they are back-tested as far as the question looks, and not further."""
    short = ladders[1].take(np.arange(6))
    cut = [ladder.take(np.arange(6)) for ladder in ladders]
    (found,), _ = predict_ladders([Question(ladder=short, targets=TARGETS)], siblings=ladders)
    (same,), _ = predict_ladders([Question(ladder=short, targets=TARGETS)], siblings=cut)
    assert found.forecast.backtest.other_tasks == 4
    assert _interval(found) == _interval(same)


def test_a_task_without_the_held_out_run_stops_no_other(ladders: list[Ladder], tmp_path: Path) -> None:
    last = ladders[0].model[-1]
    some = [ladders[0].take(np.arange(7)), *ladders[1:]]
    source = _table(some, tmp_path / "runs.csv")
    failed: dict[str, NotForecastableError] = {}
    found = predict(source, tasks=["quiz0", "quiz1"], holdout=last, on_failure=failed.__setitem__)
    (alone,) = predict(source, tasks=["quiz1"], holdout=last)
    assert [entry.forecast.task for entry in found] == ["quiz1"]
    assert _interval(found[0]) == _interval(alone)
    assert f"no results of '{last}' on quiz0" in str(failed["quiz0"])


def test_table_and_results_file_choose_the_same_siblings(ladders: list[Ladder], tmp_path: Path) -> None:
    many = [replace(ladders[i % 4], task=f"task{i:02d}") for i in range(12)]
    source = _table(many, tmp_path / "runs.csv")
    lines = source.read_text().splitlines()
    header, first = lines[0] + ",loss,num_fewshot", lines[1].split(",")
    texts = [[*first[:2], f"text{i:02d}", *first[3:6], "", "", "", "true", "3.1", "0"] for i in range(14)]
    shots = [[*line.split(","), "", count] for line in lines[1:9] for count in ("0", "5")]
    plain = [[*line.split(","), "", "0"] for line in lines[9:]]
    source.write_text("\n".join([header, *(",".join(row) for row in (*shots, *plain, *texts))]) + "\n")
    Store(tmp_path / "runs.duckdb").add_observations(read_observations(source))
    chosen = [
        [ladder.task for ladder in load_with_siblings(tmp_path / name, Wanted(tasks=["task03"]))[1]]
        for name in ("runs.csv", "runs.duckdb")
    ]
    assert chosen[0] == chosen[1]
    assert "task00" not in chosen[0]
    assert len(chosen[0]) > 5


def test_the_tasks_of_a_group_come_after_the_others() -> None:
    names = sibling_names([*((name, 0) for name in load_benchmark("mmlu").members), *((f"task{i}", 0) for i in range(10))])
    assert len(names) == 17
    assert {f"task{i}" for i in range(10)} < set(names)


def _report(db: Path, out: Path, monkeypatch: pytest.MonkeyPatch, tasks: list[str] | None) -> dict[str, Section]:
    contents: list[ReportContent] = []
    monkeypatch.setattr("forecast.api.report.render_page", lambda content: contents.append(content) or "")
    write_report(db, out, tasks=tasks)
    return {section.task: section for section in contents[0].sections}


def test_a_report_says_what_predict_says_whatever_tasks_it_shows(
    ladders: list[Ladder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = tmp_path / "runs.duckdb"
    Store(db).add_observations(read_observations(_table(ladders, tmp_path / "runs.csv")))
    whole = _report(db, tmp_path / "a.html", monkeypatch, None)["quiz1"]
    alone = _report(db, tmp_path / "b.html", monkeypatch, ["quiz1"])["quiz1"]
    targets = [Target(name=forecast.target.name, flops=forecast.target.flops) for forecast in whole.forecasts]
    asked = [entry.forecast.accuracy for entry in predict(db, tasks=["quiz1"], targets=targets)]
    assert [forecast.accuracy for forecast in whole.forecasts] == asked
    assert [forecast.accuracy for forecast in alone.forecasts] == asked
    assert whole.check is not None
    assert alone.check is not None
    assert whole.check.accuracy == alone.check.accuracy


def test_the_check_of_a_report_hides_its_run_in_the_other_tasks(
    ladders: list[Ladder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task whose largest run is not the others': what they say of that run must not reach its check."""
    short, others = ladders[1].take(np.arange(7)), [ladders[0], *ladders[2:]]
    hidden = np.arange(8) == 6
    changed = [replace(o, metrics={"acc": np.where(hidden, 0.3, o.metrics["acc"])}) for o in others]
    checks = []
    for name, beside in (("a", others), ("b", changed)):
        db = tmp_path / f"{name}.duckdb"
        Store(db).add_observations(read_observations(_table([short, *beside], tmp_path / f"{name}.csv")))
        check = _report(db, tmp_path / f"{name}.html", monkeypatch, None)["quiz1"].check
        assert check is not None
        checks.append(check.accuracy)
    assert checks[0] == checks[1]


def test_a_sibling_that_cannot_be_forecast_is_left_out(ladders: list[Ladder]) -> None:
    flat = replace(ladders[2], metrics={"acc": np.full(8, 0.5)})
    (found,), failed = predict_ladders([Question(ladder=ladders[1], targets=TARGETS)], siblings=[ladders[0], flat])
    assert found.forecast.backtest.other_tasks == 1
    assert any("1 of 2 other tasks of the family could not be back-tested" in text for text in found.forecast.warnings)
    assert not failed


def test_a_group_does_not_count_its_own_members_as_other_tasks(ladders: list[Ladder]) -> None:
    members = [replace(ladder, task=task) for ladder, task in zip(ladders[:2], ("mmlu_anatomy", "mmlu_virology"), strict=True)]
    group = replace(ladders[2], task="mmlu")
    (found,), _ = predict_ladders([Question(ladder=group, targets=TARGETS)], siblings=[*members, ladders[3]])
    assert [ladder.task for ladder in found.siblings] == ["quiz3"]


def test_at_most_seventeen_siblings_are_read(ladders: list[Ladder], tmp_path: Path) -> None:
    many = [replace(ladders[0], task=f"task{i:02d}") for i in range(40)]
    source = _table(many, tmp_path / "runs.csv")
    first = load_with_siblings(source, Wanted(tasks=["task03"]))[1]
    second = load_with_siblings(source, Wanted(tasks=["task21", "task07"]))[1]
    assert [ladder.task for ladder in first] == [ladder.task for ladder in second]
    assert len(first) == 17


def test_the_hash_of_a_forecasts_data_covers_its_siblings(ladders: list[Ladder], tmp_path: Path) -> None:
    one, two, three = to_ladders(read_observations(_table(ladders[:3], tmp_path / "runs.csv")))
    assert data_hash(one, two, three) == data_hash(one, three, two)
    assert len({data_hash(one), data_hash(one, two), data_hash(one, three), data_hash(two, one)}) == 4
