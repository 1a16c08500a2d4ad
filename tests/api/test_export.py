"""Export and import again: the same bytes; lm-eval's form read back by our own importer; hub entries the hub can parse."""

from __future__ import annotations

import csv
import importlib.util
import json
import sys
from pathlib import Path

import pytest
import yaml

from forecast.api.export import export_store
from forecast.api.ingest import import_paths
from forecast.core.observation_rows import ObservationRow
from forecast.core.progress import SilentProgress
from forecast.core.records import RunStatus
from forecast.store import Store

BUILDERS = Path(__file__).parents[1] / "store" / "store_records.py"


@pytest.fixture
def filled(tmp_path: Path) -> Store:
    spec = importlib.util.spec_from_file_location("store_records", BUILDERS)
    assert spec is not None
    assert spec.loader is not None
    records = sys.modules.setdefault("store_records", importlib.util.module_from_spec(spec))
    spec.loader.exec_module(records)
    store = Store(tmp_path / "results.duckdb")
    tasks = (records.make_task("arc_easy"), records.make_task("odd/na me", shots=5))
    for size in (6, 7):
        checkpoint = records.make_checkpoint(f"toy-{size}", params=10**size)
        for task in tasks:
            run = records.make_run(checkpoint, task)
            store.open_run(run, checkpoint, task)
            store.append(records.make_shard(run, task, range(7)))
            store.append(records.make_shard(run, task, range(7, 20)))
            store.close_run(run.run_id, RunStatus.COMPLETE, None)
    store.add_observations(
        [ObservationRow(family="f", model="m", task="t", flops=1e20, metrics={"acc": 0.5}, sems={"acc": 0.01})], source="table"
    )
    store.save_fit(law="power", family="f", task="t", status="ok", data_hash="d", code_version="1", payload={"a": [1.5]})
    return store


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_export_import_export_is_identical(filled: Store, tmp_path: Path) -> None:
    export_store(filled.path, tmp_path / "first", form="parquet")
    assert (tmp_path / "first" / "item_scores" / "family=toy" / "task=odd%2Fna%20me").is_dir()
    empty = tmp_path / "empty.duckdb"
    report = import_paths([tmp_path / "first"], db=empty, progress=SilentProgress())
    assert (report.files, report.exports, report.items_merged) == (0, 1, filled.info().item_scores)
    export_store(empty, tmp_path / "second", form="parquet")
    first, second = bytes_of(tmp_path / "first"), bytes_of(tmp_path / "second")
    assert first == second
    assert len(first) == 4 + 2 + 4 + 2
    assert Store(empty).score_rows() == filled.score_rows()
    assert import_paths([tmp_path / "first"], db=empty, progress=SilentProgress()).items_merged == 0
    assert Store(empty).info().item_scores == filled.info().item_scores
    assert Store(empty).problems() == []


def test_a_cut_export_is_refused_and_changes_nothing(filled: Store, tmp_path: Path) -> None:
    from forecast.core.errors import InputError

    export_store(filled.path, tmp_path / "first", form="parquet")
    shard = next((tmp_path / "first").rglob("item_scores/**/*.parquet"))
    whole = shard.read_bytes()
    target = Store(tmp_path / "target.duckdb")
    target.create()
    before = target.info()
    shard.write_bytes(whole[:50])
    with pytest.raises(InputError, match="nothing was imported"):
        target.merge(tmp_path / "first")
    shard.unlink()
    with pytest.raises(InputError, match="as its manifest says"):
        target.merge(tmp_path / "first")
    assert target.info() == before


def test_csv_holds_the_view_in_full_precision(filled: Store, tmp_path: Path) -> None:
    export_store(filled.path, tmp_path / "scores.csv", form="csv")
    with (tmp_path / "scores.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    scores = filled.score_rows()
    assert len(rows) == len(scores) == 4
    for row, score in zip(rows, scores, strict=True):
        assert float(row["nll_per_char"]) == score["nll_per_char"]
        assert row["task"] == score["task"]


def test_lm_eval_files_read_back(filled: Store, tmp_path: Path) -> None:
    files = export_store(filled.path, tmp_path / "lm", form="lm-eval")
    assert len(files) == 4
    content = json.loads(files[0].read_text())
    assert {"results", "versions", "n-shot", "n-samples", "config"} <= content.keys()
    import_paths([tmp_path / "lm"], db=tmp_path / "back.duckdb", progress=SilentProgress())
    back = {(ladder.task, model): value for ladder in Store(tmp_path / "back.duckdb").ladders() for model, value in zip(
        ladder.model, ladder.metrics["acc"].tolist(), strict=True)}  # fmt: skip
    assert back == {(row["task"], row["model"]): row["acc"] for row in filled.score_rows()}


def test_hub_entries_parse(filled: Store, tmp_path: Path) -> None:
    from huggingface_hub._eval_results import parse_eval_result_entries

    files = export_store(filled.path, tmp_path / "hub", form="eval-results")
    assert [path.parent.name for path in files] == [".eval_results"] * 2
    (entry,) = parse_eval_result_entries(yaml.safe_load(files[0].read_text()))
    assert (entry.dataset_id, entry.task_id) == ("allenai/ai2_arc", "arc_easy")
    assert 0.0 <= entry.value <= 1.0
