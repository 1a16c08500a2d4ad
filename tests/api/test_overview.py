"""What `forecast families` and `forecast tasks` say, with and without results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from forecast.api.overview import benchmark_overviews, family_overviews
from forecast.cli.app import build_app
from forecast.core.checkpoint_note import CheckpointNote, write_note
from forecast.core.records import CheckpointRecord, ItemRecord, RunRecord, RunStatus, ScoredShard, TaskRecord
from forecast.store import Store


def score(
    db: Path,
    *,
    family: str,
    model: str,
    revision: str,
    task: str,
    step: int | None = None,
    status: RunStatus = RunStatus.COMPLETE,
) -> None:
    store = Store(db)
    key = f"{model}-{revision}-{step}"
    item = ItemRecord(item_idx=0, prompt="1+1=", choices=("2", "3"), gold=0, prompt_hash="p", n_chars=(1, 1), n_bytes=(1, 1))
    record = TaskRecord(
        task_id=f"id-{task}",
        task=task,
        num_fewshot=0,
        fewshot_seed=None,
        output_type="multiple_choice",
        definition_hash="d",
        items=(item,),
    )
    checkpoint = CheckpointRecord(checkpoint_id=f"c-{key}", family=family, model=model, revision=revision, step=step, params=1)
    run = RunRecord(
        run_id=f"{key}-{task}",
        checkpoint_id=checkpoint.checkpoint_id,
        task_id=record.task_id,
        dtype="float32",
        device="cpu",
        backend="native",
        scoring_version="1",
    )
    store.open_run(run, checkpoint, record)
    shard = ScoredShard(
        run_id=run.run_id, item_idx=(0,), loglikelihoods=((-1.0, -2.0),), n_tokens=((1, 1),), is_greedy=((True, False),)
    )
    store.append(shard)
    store.close_run(run.run_id, status, None)
    store.commit()


@pytest.fixture
def db(tmp_path: Path) -> Path:
    path = tmp_path / "results.duckdb"
    score(path, family="pythia", model="pythia-70m", revision="step1000", task="arc_easy")
    score(path, family="pythia", model="pythia-70m", revision="step1000", task="sciq")
    score(path, family="pythia", model="pythia-70m", revision="step2000", task="arc_easy")
    score(path, family="pythia", model="pythia-160m", revision="step1000", task="arc_easy", status=RunStatus.FAILED)
    return path


def test_families_count_finished_runs_only(db: Path, tmp_path: Path) -> None:
    (overview,) = family_overviews(db=db, names=["pythia"], checkpoints=tmp_path)
    assert overview.checkpoints == 8 * 154
    assert overview.scored_checkpoints == 2
    assert overview.scored_tasks == ("arc_easy", "sciq")
    assert overview.min_flops == pytest.approx(6 * 18_915_328 * 299_892_736_000)
    by_name = {model.model: model for model in overview.models}
    assert by_name["pythia-70m"].scored_checkpoints == 2
    assert by_name["pythia-160m"].scored_checkpoints == 0


def test_tasks_count_finished_runs_only(db: Path) -> None:
    (overview,) = benchmark_overviews(db=db, names=["arc_easy"])
    assert overview.scored_checkpoints == 2
    assert overview.scored_families == ("pythia",)


def test_nothing_is_created_where_there_is_no_results_file(tmp_path: Path) -> None:
    family_overviews(db=tmp_path / "none.duckdb", checkpoints=tmp_path)
    benchmark_overviews(db=tmp_path / "none.duckdb")
    assert not list(tmp_path.iterdir())


def test_folders_of_one_run_are_told_apart_by_their_step(tmp_path: Path) -> None:
    db = tmp_path / "results.duckdb"
    for step in (3, 9):
        score(db, family="demo", model="demo-d8", revision="", step=step, task="demo_world")
    (overview,) = family_overviews(db=db, names=["demo"], checkpoints=tmp_path)
    assert overview.scored_checkpoints == 2


def test_in_house_families_show_what_lies_on_the_disk(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints" / "demo" / "demo-d8" / "step9"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    note = CheckpointNote(
        family="demo", model="demo-d8", step=9, params=50, tokens=90, flops=1e5, flops_convention="deepseek-md"
    )
    write_note(folder, note)
    (overview,) = family_overviews(db=tmp_path / "none", names=["demo"], checkpoints=tmp_path / "checkpoints")
    trained = {model.model: model for model in overview.models}["demo-d8"]
    assert overview.in_house
    assert len(overview.models) == 10
    assert {model.checkpoints for model in overview.models} == {0, 1}
    assert (trained.checkpoints, trained.params, trained.flops) == (1, 50, 1e5)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(build_app(), list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


def test_the_commands_print_tables_and_pure_json(db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "70m..12b" in run("families", "--db", str(db))
    shown = run("families", "pythia", "--db", str(db))
    assert "11,846,072,320" in shown
    assert "https://arxiv.org/abs/2304.01373" in shown
    listed = json.loads(run("families", "--json", "--db", str(db)))
    assert {"pythia", "pythia-deduped", "cerebras-gpt", "olmo2", "gemstones", "demo"} <= {entry["family"] for entry in listed}
    one = json.loads(run("families", "pythia", "--json", "--db", str(db)))
    assert one["scored_checkpoints"] == 2
    assert "1,172" in run("tasks", "--db", str(db))
    assert json.loads(run("tasks", "arc_easy", "--json", "--db", str(db)))["scored_checkpoints"] == 2
    assert "ARC Easy" in run("tasks", "arc_easy", "--db", str(db))
