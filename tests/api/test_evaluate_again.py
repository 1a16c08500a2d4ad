"""An evaluation that finds everything stored: cheap, and able to complete what is known of the checkpoints."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forecast.api.evaluate import EvaluationReport, evaluate
from forecast.evaluation import sibling_check, sweep
from forecast.evaluation.request import EvaluationRequest
from forecast.evaluation.selection import select
from forecast.scoring import checkpoint_sweep

Run = Callable[..., EvaluationReport]

_AGAIN = """
import json, sys
from pathlib import Path
from forecast.core.progress import SilentProgress
from forecast.hub import Fetcher
from forecast.scoring.devices import settle_device, settle_dtype
from forecast.scoring.text_files import render_text_files
from forecast.store import Store
from forecast.evaluation.executor import Job
from forecast.evaluation.sweep import FamilySweep
from forecast.evaluation.records import ScoringSettings
from forecast.evaluation.selection import select

folder, text, db = sys.argv[1:]
requests = select(models=[folder], tokens=10**6)
settings = ScoringSettings(dtype=settle_dtype("auto", settle_device("cpu")), device="cpu")
texts = render_text_files([Path(text)], limit=None)
job = Job(checkpoint=requests[0], tasks=texts)
[run_id] = FamilySweep([job], settings, Store(Path(db)), Fetcher(), SilentProgress()).evaluate(job)
[row] = Store(Path(db)).score_rows([run_id])
print(json.dumps({"flops": row["flops"], "heavy": sorted({"torch", "transformers", "lm_eval"} & set(sys.modules))}))
"""


def test_what_is_stored_is_found_and_completed_without_torch(checkpoints: list[Path], tmp_path: Path) -> None:
    text, db = tmp_path / "text.txt", tmp_path / "results.duckdb"
    text.write_text("the red cat sat on the mat")
    [row] = evaluate(select(models=[str(checkpoints[0])]), tasks=[], text_files=[text], db=db, device="cpu").rows
    assert row["flops"] is None
    again = subprocess.run(
        [sys.executable, "-c", _AGAIN, str(checkpoints[0]), str(text), str(db)], capture_output=True, text=True, check=True
    )
    assert json.loads(again.stdout) == {"flops": pytest.approx(6.0 * float(str(row["params"])) * 1e6), "heavy": []}


def test_what_predict_will_miss_is_said_and_can_be_given_without_scoring_again(
    checkpoints: list[Path], world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {
        "tasks": ["toy_choice"],
        "db": tmp_path / "results.duckdb",
        "include_path": world / "tasks",
        "data_dir": world / "data",
        "device": "cpu",
    }
    models = [str(folder) for folder in checkpoints]
    first = evaluate(select(models=models), **options)
    [said] = first.missing
    assert "training FLOPs are not known of toy-0, toy-1, toy-2" in said
    assert "`tokens=`" in said
    monkeypatch.setattr(checkpoint_sweep, "load_checkpoint", lambda *_, **__: pytest.fail("scored again"))
    [few] = evaluate(select(models=models[:2], tokens=[10**9, 2 * 10**9]), **options).missing
    assert "at least 3 checkpoints of 2 models" in few
    assert "has 2 of 2" in few
    table = tmp_path / "runs.csv"
    table.write_text("model,family,tokens\n" + "".join(f"{model},mine,{i + 1}e9\n" for i, model in enumerate(models)))
    complete = evaluate(select(table=table), **options)
    assert complete.missing == ()
    assert [(row["family"], row["tokens"]) for row in complete.rows] == [
        ("mine", 10**9),
        ("mine", 2 * 10**9),
        ("mine", 3 * 10**9),
    ]
    for before, after in zip(first.rows, complete.rows, strict=True):
        assert (before["run_id"], before["nll_per_char"]) == (after["run_id"], after["nll_per_char"])


def test_one_request_says_what_checkpoints_and_options_say(checkpoints: list[Path], tmp_path: Path) -> None:
    text, db = tmp_path / "text.txt", tmp_path / "results.duckdb"
    text.write_text("the red cat sat on the mat")
    named = {"tasks": [], "text_files": [text], "db": db, "device": "cpu"}
    request = EvaluationRequest(checkpoints=select(models=[str(checkpoints[0])]), **named)  # type: ignore[arg-type]
    first = evaluate(request)
    assert first.rows[0]["n_items"] == 1
    assert evaluate(request.checkpoints, **named).rows == first.rows
    with pytest.raises(TypeError, match="limit"):
        evaluate(request, limit=3)
    with pytest.raises(TypeError, match="limmit"):
        evaluate(request.checkpoints, **named, limmit=3)


def test_parameters_are_counted_once_per_checkpoint(
    checkpoints: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the red cat sat on the mat")
    honest, counted = sweep.count_parameters, []
    for module in (sweep, sibling_check):
        monkeypatch.setattr(module, "count_parameters", lambda folder: counted.append(folder) or honest(folder), raising=False)
    models = [str(folder) for folder in checkpoints[:2]]
    evaluate(select(models=models), tasks=[], text_files=[text], db=tmp_path / "results.duckdb", device="cpu")
    assert [str(folder) for folder in counted] == models


_COMMAND = """
import sys
from forecast.cli import main
try:
    main()
finally:
    print(sorted({"torch", "transformers", "lm_eval", "datasets"} & set(sys.modules)), file=sys.stderr)
"""


def test_the_command_imports_nothing_heavy_where_all_is_stored(checkpoints: list[Path], world: Path, tmp_path: Path) -> None:
    options = ["--tasks", "toy_choice", "--include-path", str(world / "tasks"), "--data-dir", str(world / "data"), "--json"]
    models = [word for folder in checkpoints for word in ("--model", str(folder))]
    command = [sys.executable, "-c", _COMMAND, "eval", *models, *options, "--device", "cpu", "--db", str(tmp_path / "r.duckdb")]
    first, again = (subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(2))
    assert json.loads(first.stdout) == json.loads(again.stdout)
    assert "'torch'" in first.stderr.splitlines()[-1]
    assert again.stderr.splitlines()[-1] == "[]"
