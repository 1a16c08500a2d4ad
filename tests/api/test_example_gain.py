"""`compare --shots` and `--tasks`: pairing from stored items and tables, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import forecast
from forecast.api.evaluate import evaluate
from forecast.api.example_gain import ExampleGain
from forecast.cli.app import build_app
from forecast.core.errors import FitError, InputError, UsageError
from forecast.core.records import CheckpointRequest


def table(path: Path) -> Path:
    rng = np.random.default_rng(0)
    lines = ["family,model,task,num_fewshot,flops,acc,n_items,chance"]
    for i, flops in enumerate(np.geomspace(1e18, 1e22, 9)):
        for task, shots, gain in (("t", 0, 0.0), ("t", 5, 0.2 / (1 + np.exp(4 - i))), ("u", 0, 0.02 * i)):
            acc = rng.binomial(4000, 0.3 + 0.04 * i + gain) / 4000
            lines.append(f"f,m{i},{task},{shots},{flops:.6e},{acc},4000,0.25")
    path.write_text("\n".join(lines) + "\n")
    return path


def compare(path: Path, **options: Any) -> ExampleGain:
    found = forecast.open(path).compare(family="f", replicates=100, **options)
    assert isinstance(found, ExampleGain)
    return found


@pytest.mark.filterwarnings("ignore::forecast.ForecastNotice")
def test_tables_are_paired_by_checkpoint(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv")
    found = compare(path, task="t", shots=[0, 5], margin=0.05)
    assert (found.shots_a, found.shots_b, found.metric, found.n_items, found.status) == (0, 5, "acc", None, "seen")
    assert [row.model for row in found.checkpoints] == [f"m{i}" for i in range(9)]
    for row in found.checkpoints:
        assert row.gain == pytest.approx(row.b - row.a)
        assert row.se == pytest.approx(np.sqrt((row.a * (1 - row.a) + row.b * (1 - row.b)) / 4000))
    back = compare(path, task="t", shots=[5, 0], margin=0.05)
    assert back.at_largest.gain == pytest.approx(-found.at_largest.gain)
    assert back.status == "not-seen"
    other = compare(path, tasks=["t", "u"], num_fewshot=0)
    assert (other.task_a, other.task_b) == ("t", "u")
    assert "ExampleGain of f" in repr(found)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"task": "t", "shots": [0, 7]}, "shots that were measured: 0, 5"),
        ({"task": "t", "shots": [0]}, "two different numbers"),
        ({"task": "t", "shots": [0, 0]}, "two different numbers"),
        ({"shots": [0, 5]}, "task="),
        ({"tasks": ["t"]}, "two different tasks"),
        ({"tasks": ["t", "u"], "task": "t"}, "no `task=`"),
        ({"task": "t", "shots": [0, 5], "tasks": ["t", "u"]}, "exactly one"),
        ({"task": "t", "shots": [0, 5], "margin": -1.0}, "margin"),
        ({"task": "t", "shots": [0, 5], "metric": "acc_norm"}, "was not measured by 'acc_norm'"),
        ({"task": "x", "shots": [0, 5]}, "unknown task 'x'"),
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        compare(table(tmp_path / "t.csv"), **options)


def test_the_command_prints_json_a_table_and_a_figure(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv")
    plain = ["compare", "--shots", "0,5", "--task", "t", "--family", "f", "--table", str(path), "--bootstrap", "50"]
    outcome = CliRunner().invoke(build_app(), [*plain, "--plot", str(tmp_path / "g.svg"), "--json"], catch_exceptions=False)
    assert outcome.exit_code == 0
    assert set(json.loads(outcome.stdout)) == set(ExampleGain.__dataclass_fields__)
    assert "<svg" in (tmp_path / "g.svg").read_text(encoding="utf-8")
    shown = CliRunner().invoke(build_app(), plain, catch_exceptions=False)
    assert "t (5 shots) over t (0 shots) gains" in shown.stdout


def evaluated(checkpoints: list[Path], world: Path, db: Path, **options: Any) -> Path:
    requests = [
        CheckpointRequest(source=str(folder), family="f", model=folder.name, flops=10.0 ** (15 + i))
        for i, folder in enumerate(checkpoints)
    ]
    where: dict[str, Any] = {"include_path": world / "tasks", "data_dir": world / "data", "device": "cpu", "db": db}
    evaluate(requests, tasks=["toy_choice"], **where, **options).check()
    return db


@pytest.mark.filterwarnings("ignore::forecast.ForecastNotice")
def test_stored_items_are_paired(checkpoints: list[Path], world: Path, tmp_path: Path) -> None:
    db = evaluated(checkpoints, world, tmp_path / "r.duckdb", num_fewshot=[0, 2])
    found = compare(db, task="toy_choice", shots=[0, 2], metric="acc")
    assert found.n_items == 30
    assert len(found.checkpoints) == 3
    [asked] = (
        forecast.open(db)
        .sql(
            """SELECT avg(b.correct::INT - a.correct::INT) AS gain,
                stddev_samp(b.correct::INT - a.correct::INT) / sqrt(30) AS se
            FROM item_metrics a JOIN runs ra USING (run_id)
            JOIN item_metrics b USING (item_idx) JOIN runs rb ON rb.run_id = b.run_id
            WHERE ra.num_fewshot = 0 AND rb.num_fewshot = 2 AND ra.model = 'toy-0' AND rb.model = 'toy-0'"""
        )
        .arrow()
        .to_pylist()
    )
    [own] = [row for row in found.checkpoints if row.model == "toy-0"]
    assert (own.gain, own.se) == (pytest.approx(asked["gain"]), pytest.approx(asked["se"]))
    for row in compare(db, task="toy_choice", shots=[0, 2], metric="nll_per_char").checkpoints:
        assert row.gain == pytest.approx(row.a - row.b)


@pytest.mark.filterwarnings("ignore::forecast.ForecastNotice")
def test_other_items_are_intersected_and_other_definitions_refused(
    checkpoints: list[Path], world: Path, tmp_path: Path
) -> None:
    db = evaluated(checkpoints, world, tmp_path / "r.duckdb", num_fewshot=0)
    evaluated(checkpoints, world, db, num_fewshot=2, limit=20)
    found = compare(db, task="toy_choice", shots=[0, 2], metric="acc")
    assert found.n_items == 20
    assert any("the first 20 are compared" in reason for reason in found.reasons)
    evaluated(checkpoints, world, db, num_fewshot=3, dtype="float64")
    with pytest.raises(InputError, match="dtype float32 and float64"):
        compare(db, task="toy_choice", shots=[0, 3])
    one = evaluated(checkpoints[:1], world, tmp_path / "one.duckdb", num_fewshot=[0, 2])
    with pytest.raises(FitError, match="at least two runs"):
        compare(one, task="toy_choice", shots=[0, 2])
