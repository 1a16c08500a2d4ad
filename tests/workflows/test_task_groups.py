"""MMLU as one benchmark though lm-eval keeps its subjects apart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from forecast.cli.app import build_app
from forecast.core.errors import NotForecastableError, UsageError
from forecast.core.observations import ItemMatrix, Ladder
from forecast.core.progress import SilentProgress
from forecast.workflows.predict import load_ladders
from forecast.workflows.task_groups import join_tasks

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
    one, two = subject("mmlu_a", 100), subject("mmlu_b", 300, models=MODELS[::-1][:5], seed=1)
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
    one = subject("mmlu_a", 100)
    with pytest.raises(NotForecastableError, match="no checkpoint has known numbers of items on all 2 tasks of 'mmlu'"):
        join_tasks("mmlu", [one, replace(subject("mmlu_b", 100), n_items=None)])
    with pytest.raises(NotForecastableError, match="no checkpoint"):
        join_tasks("mmlu", [subject("mmlu_a", 10, models=("m1",)), subject("mmlu_b", 10, models=("m2",))])
    with pytest.raises(UsageError, match=r"shots \['0', '5'\]; choose --num-fewshot"):
        join_tasks("mmlu", [one, subject("mmlu_b", 100, shots=0)])
    with pytest.raises(UsageError, match="20000 items together; expected at most the 14042"):
        join_tasks("mmlu", [subject("mmlu_a", 10_000), subject("mmlu_pro_law", 10_000)])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    lines = ["family,model,task,params,tokens,acc,n_items,chance,num_fewshot"]
    for name, items in (("mmlu_a", 100), ("mmlu_b", 300), ("piqa", 50)):
        ladder = subject(name, items)
        for i, model in enumerate(ladder.model):
            lines.append(f"f,{model},{name},{ladder.params[i]},{ladder.tokens[i]},{ladder.metrics['acc'][i]},{items},0.25,5")
    path = tmp_path / "runs.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["table", "database"])
def test_a_group_is_forecast_by_its_name(table: Path, kind: str) -> None:
    source = table
    if kind == "database":
        source = table.with_name("r.duckdb")
        assert CliRunner().invoke(build_app(), ["import", str(table), "--db", str(source), "--quiet"]).exit_code == 0
    progress = SilentProgress()
    ladders = load_ladders(source, tasks=["mmlu", "piqa", "mmlu_a"], family=None, progress=progress)
    assert [ladder.task for ladder in ladders] == ["mmlu", "piqa", "mmlu_a"]
    expected = (subject("mmlu_a", 100).metrics["acc"] + 3 * subject("mmlu_b", 300).metrics["acc"]) / 4
    np.testing.assert_allclose(np.sort(ladders[0].metrics["acc"]), np.sort(expected), rtol=1e-6)
    assert progress.notices == ["mmlu is the union of 2 tasks with 400 items, of the checkpoints that answered all"]
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
    assert {ladder.task for ladder in load_ladders(source, tasks=None, family=None)} == {"mmlu_a", "mmlu_b", "piqa"}
    with pytest.raises(UsageError, match="blimp"):
        load_ladders(source, tasks=["blimp"], family=None)
