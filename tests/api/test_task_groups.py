"""MMLU as one benchmark though lm-eval keeps its subjects apart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from forecast.api.compare import compare_drawn
from forecast.api.report import write_report
from forecast.cli.app import build_app
from forecast.core.errors import NotForecastableError, UsageError
from forecast.core.observations import ItemMatrix, Ladder
from forecast.core.progress import SilentProgress
from forecast.observations.ladders import Wanted, load_ladders
from forecast.observations.measurements import Selection, load_measurements
from forecast.observations.task_groups import join_tasks

MODELS = tuple(f"m{i}" for i in range(6))


def subject(name: str, items: int, *, models: tuple[str, ...] = MODELS, seed: int = 0, shots: int = 5) -> Ladder:
    rng = np.random.default_rng(seed)
    rows = len(models)
    correct = (rng.random((rows, items)) < np.linspace(0.3, 0.7, rows)[:, None]).astype(float)
    nll = rng.random((rows, items)) + np.linspace(2.0, 1.0, rows)[:, None]
    n = np.array([1e7 * 3.0 ** int(model[1:]) for model in models])
    return Ladder(
        family="f",
        task=name,
        model=models,
        params=n,
        tokens=20 * n,
        flops=120 * n**2,
        step=np.full(rows, np.nan),
        is_final=np.ones(rows, dtype=bool),
        metrics={"acc": correct.mean(axis=1), "nll_choice_norm": nll.mean(axis=1)},
        sems={"acc": correct.std(axis=1) / np.sqrt(items)},
        n_items=np.full(rows, float(items)),
        chance=0.25,
        num_fewshot=shots,
        items=ItemMatrix(correct={"acc": correct}, nll={"nll_choice_norm": nll}),
    )


def test_means_over_all_items_of_the_checkpoints_that_answered_all() -> None:
    one, two = subject("mmlu_anatomy", 100), subject("mmlu_business_ethics", 300, models=MODELS[::-1][:5], seed=1)
    joined = join_tasks("mmlu", [one, two])
    assert (joined.task, joined.model) == ("mmlu", MODELS[1:])
    assert joined.items is not None
    assert joined.items.correct["acc"].shape == (5, 400)
    for metric, matrix in (("acc", joined.items.correct["acc"]), ("nll_choice_norm", joined.items.nll["nll_choice_norm"])):
        np.testing.assert_allclose(joined.metrics[metric], matrix.mean(axis=1), rtol=1e-12)
    within = np.sqrt(
        (100 * one.metrics["acc"] * (1 - one.metrics["acc"]))[1:] + (300 * two.metrics["acc"] * (1 - two.metrics["acc"]))[::-1]
    )
    np.testing.assert_allclose(joined.sems["acc"], within / 400, rtol=1e-12)
    assert joined.n_items is not None
    assert joined.n_items.tolist() == [400.0] * 5
    assert joined.chance == pytest.approx(0.25)


def test_what_does_not_belong_together_is_not_joined() -> None:
    one = subject("mmlu_anatomy", 100)
    with pytest.raises(NotForecastableError, match="no checkpoint has known numbers of items on all 2 tasks of 'mmlu'"):
        join_tasks("mmlu", [one, replace(subject("mmlu_business_ethics", 100), n_items=None)])
    with pytest.raises(NotForecastableError, match="no checkpoint"):
        join_tasks("mmlu", [subject("mmlu_anatomy", 10, models=("m1",)), subject("mmlu_business_ethics", 10, models=("m2",))])
    with pytest.raises(UsageError, match=r"shots \['0', '5'\]; choose `num_fewshot=`"):
        join_tasks("mmlu", [one, subject("mmlu_business_ethics", 100, shots=0)])
    with pytest.raises(UsageError, match="20000 items together; expected at most the 14042"):
        join_tasks("mmlu", [subject("mmlu_anatomy", 10_000), subject("mmlu_pro_law", 10_000)])


HEADER = "family,model,task,params,tokens,acc,n_items,chance,num_fewshot,depth,seconds"


def lines_of(family: str, ladder: Ladder) -> list[str]:
    items = int(ladder.n_items[0]) if ladder.n_items is not None else 0
    return [
        f"{family},{model},{ladder.task},{ladder.params[i]},{ladder.tokens[i]},{ladder.metrics['acc'][i]},{items},0.25,"
        f"{ladder.num_fewshot},{10 + i},{items + i}"
        for i, model in enumerate(ladder.model)
    ]


def stored(path: Path, kind: str) -> Path:
    if kind == "table":
        return path
    db = path.with_suffix(".duckdb")
    assert CliRunner().invoke(build_app(), ["import", str(path), "--db", str(db), "--quiet"]).exit_code == 0
    return db


@pytest.fixture
def table(tmp_path: Path) -> Path:
    lines = [HEADER]
    for name, items in (("mmlu_anatomy", 100), ("mmlu_business_ethics", 300), ("piqa", 50)):
        lines += lines_of("f", subject(name, items))
    path = tmp_path / "runs.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["table", "database"])
def test_a_group_is_forecast_by_its_name(table: Path, kind: str) -> None:
    source = stored(table, kind)
    ladders = load_ladders(source, Wanted(tasks=["mmlu", "piqa", "mmlu_anatomy"]))
    assert [ladder.task for ladder in ladders] == ["mmlu", "piqa", "mmlu_anatomy"]
    expected = (subject("mmlu_anatomy", 100).metrics["acc"] + 3 * subject("mmlu_business_ethics", 300).metrics["acc"]) / 4
    np.testing.assert_allclose(np.sort(ladders[0].metrics["acc"]), np.sort(expected), rtol=1e-6)
    assert ladders[0].notes == ("mmlu is the union of 2 tasks with 400 items, of the checkpoints that answered all",)
    arguments = [
        "predict",
        "--task",
        "mmlu",
        "--flops",
        "1e21",
        "--json",
        "--table" if kind == "table" else "--db",
        str(source),
    ]
    assert json.loads(CliRunner().invoke(build_app(), arguments, catch_exceptions=False).stdout)["task"] == "mmlu"
    assert {ladder.task for ladder in load_ladders(source, Wanted())} == {"mmlu_anatomy", "mmlu_business_ethics", "piqa"}
    with pytest.raises(UsageError, match="blimp"):
        load_ladders(source, Wanted(tasks=["blimp"]))


@pytest.mark.parametrize("kind", ["table", "database"])
def test_laws_are_fitted_on_a_group_by_its_name(table: Path, kind: str) -> None:
    source, said = stored(table, kind), list[str]()
    found = load_measurements(source, Selection(task="mmlu"), notice=said.append)
    expected = (subject("mmlu_anatomy", 100).metrics["acc"] + 3 * subject("mmlu_business_ethics", 300).metrics["acc"]) / 4
    np.testing.assert_allclose(found.column("acc"), expected, rtol=1e-6)
    assert (found.task, found.members, found.runs) == ("mmlu", ("mmlu_anatomy", "mmlu_business_ethics"), MODELS)
    assert found.column("n_items").tolist() == [400.0] * len(MODELS)
    assert said[-1] == "mmlu is the union of 2 tasks with 400 items, of the checkpoints that answered all"
    own = load_measurements(source, Selection(task="mmlu_business_ethics"), notice=said.append)
    np.testing.assert_allclose(own.column("acc"), subject("mmlu_business_ethics", 300).metrics["acc"], rtol=1e-6)
    with pytest.raises(UsageError, match="blimp"):
        load_measurements(source, Selection(task="blimp"), notice=said.append)
    where = "--table" if kind == "table" else "--db"
    arguments = ["fit", "sigmoid-compute", "--task", "mmlu", "--fix", "floor=0.25", "--fix", "ceiling=1", "--json", where]
    report = json.loads(CliRunner().invoke(build_app(), [*arguments, str(source)], catch_exceptions=False).stdout)
    assert (report["task"], report["n_rows"]) == ("mmlu", len(MODELS))


def test_of_a_tables_own_columns_a_group_keeps_what_all_its_tasks_share(tmp_path: Path) -> None:
    one, two = subject("mmlu_anatomy", 100), subject("mmlu_business_ethics", 300, models=MODELS[::-1][:5], seed=1)
    path = tmp_path / "runs.csv"
    # The depth is the model's; the seconds are another number on each task.
    second = [line.split(",") for line in lines_of("f", two)]
    rows = [",".join([*cells[:9], str(10 + int(cells[1][1:])), cells[10]]) for cells in second]
    path.write_text("\n".join([HEADER, *lines_of("f", one), *rows]) + "\n", encoding="utf-8")
    found = load_measurements(path, Selection(task="mmlu"), notice=lambda _text: None)
    assert found.runs == MODELS[1:]
    assert found.column("depth").tolist() == [11.0, 12.0, 13.0, 14.0, 15.0]
    assert found.column("params").tolist() == one.params[1:].tolist()
    assert "seconds" not in found.columns
    assert load_measurements(path, Selection(task="mmlu_anatomy"), notice=lambda _text: None).column("seconds")[0] == 100.0


@pytest.mark.parametrize("kind", ["table", "database"])
def test_a_group_is_whole_or_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "runs.csv"
    rows = [
        line
        for name, shots in (("mmlu_anatomy", 5), ("mmlu_business_ethics", 0))
        for line in lines_of("f", subject(name, 100, shots=shots))
    ]
    path.write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")
    source = stored(path, kind)
    for shots in (None, 5):
        with pytest.raises(UsageError, match=r"shots.*; choose `num_fewshot=`"):
            load_measurements(source, Selection(task="mmlu", num_fewshot=shots), notice=lambda _text: None)


@pytest.mark.parametrize("kind", ["table", "database"])
def test_families_are_compared_on_the_same_tasks_of_a_group(table: Path, kind: str) -> None:
    rows = lines_of("g", subject("mmlu_anatomy", 100, seed=2)) + lines_of("g", subject("mmlu_business_ethics", 300, seed=3))
    rows += lines_of("h", subject("mmlu_anatomy", 100)) + lines_of("h", subject("mmlu_college_biology", 300))
    table.write_text(table.read_text(encoding="utf-8") + "\n".join(rows) + "\n", encoding="utf-8")
    source = stored(table, kind)
    found, _ = compare_drawn(source, "f", "g", Selection(task="mmlu"), replicates=20, notice=lambda _text: None)
    assert (found.task, found.metric) == ("mmlu", "acc")
    with pytest.raises(
        UsageError, match=r"2 tasks of 'mmlu' are stored of one family only \(mmlu_business_ethics, mmlu_college_biology\)"
    ):
        compare_drawn(source, "f", "h", Selection(task="mmlu"), replicates=20, notice=lambda _text: None)


def test_a_report_on_a_group(table: Path, tmp_path: Path) -> None:
    others = lines_of("g", subject("mmlu_anatomy", 100)) + lines_of("g", subject("mmlu_business_ethics", 100, shots=0))
    table.write_text(table.read_text(encoding="utf-8") + "\n".join(others) + "\n", encoding="utf-8")
    source, out, progress = stored(table, "database"), tmp_path / "page.html", SilentProgress()
    assert write_report(source, out, tasks=["mmlu", "piqa"], families=["f"], progress=progress) == 2
    assert any("mmlu is the union of 2 tasks with 400 items" in text for text in progress.notices)
    assert write_report(source, out, tasks=["mmlu"], progress=progress) == 1
    assert progress.notices[-1].startswith("g, mmlu is left out: the tasks of 'mmlu' were measured with shots ['0', '5']")
    with pytest.raises(UsageError, match="choose `num_fewshot=`"):
        write_report(source, out, tasks=["mmlu"], families=["g"])
