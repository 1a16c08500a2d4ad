"""What cannot be meant is refused before any work: before models are loaded, laws fitted, or a forecast printed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., int]
ErrorLine = Callable[[], str]
HEAVY = ("torch", "transformers", "lm_eval", "datasets", "duckdb")
ASK = """
import sys
from forecast.cli.app import main
sys.argv = ["forecast", *sys.argv[1:]]
try:
    main()
except SystemExit as stop:
    print(stop.code, [name for name in {heavy} if name in sys.modules])
"""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--model", "./none", "--tasks", "arc_easy"), 1),
        (("--model", "neither folder nor hub id", "--tasks", "arc_easy"), 2),
        (("--family", "none", "--tasks", "arc_easy"), 2),
        (("--family", "pythia", "--sizes", "9t", "--tasks", "arc_easy"), 2),
        (("--tasks", "arc_easy"), 2),
        (("--model", ".", "--cache-limit", "lots", "--tasks", "arc_easy"), 2),
    ],
)
def test_eval_refuses_a_wrong_checkpoint_before_it_imports_anything_heavy(
    arguments: tuple[str, ...], code: int, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASK.format(heavy=HEAVY), "eval", *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    assert done.stdout == f"{code} []\n", done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_an_option_out_of_range_is_named_before_anything_heavy_is_imported(tmp_path: Path) -> None:
    arguments = ["eval", "--model", ".", "--tokens", "0", "--tasks", "arc_easy"]
    done = subprocess.run(
        [sys.executable, "-c", ASK.format(heavy=HEAVY), *arguments], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout == "2 []\n", done.stderr
    assert "--tokens" in done.stderr


def test_eval_refuses_an_unknown_task_before_it_imports_torch_or_lm_eval(tmp_path: Path) -> None:
    definition = "task: mine\ndataset_path: json\noutput_type: multiple_choice\ntest_split: test\n"
    (tmp_path / "mine.yaml").write_text(definition)
    code = """
import sys
from pathlib import Path
from forecast.core.errors import UsageError
from forecast.core.records import CheckpointRequest
from forecast.api.evaluate import evaluate
try:
    evaluate([CheckpointRequest(source=".")], tasks=["mien"], db=Path("r.duckdb"), include_path=Path())
except UsageError as error:
    print("did you mean 'mine'" in str(error), "torch" in sys.modules, "lm_eval" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout == "True False False\n"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        (",", "error: --tasks is ','; expected at least one name\n"),
        (" , ,", "error: --tasks is ' , ,'; expected at least one name\n"),
        ("", "error: --tasks is ''; expected at least one name\n"),
        ("mine,mien", "unknown task 'mien'"),
        ("MINE", "unknown task 'MINE'; expected a task, group or tag of lm-eval or of --include-path; did you mean 'mine'"),
        ("mine,both", "task 'mine' is asked for twice with different settings: by 'mine' and by 'both'"),
        ("circle", "group 'circle' never ends: circle > circle"),
        ("lost", "group 'lost' names 'gone', which no definition has"),
        ("code", "task 'code' runs Python: !function os.getcwd"),
    ],
)
def test_eval_says_what_is_wrong_with_its_tasks_in_one_line(
    tasks: str,
    said: str,
    tmp_path: Path,
    forecast: Command,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    definition = "task: mine\ndataset_path: json\noutput_type: multiple_choice\ntest_split: test\n"
    (tmp_path / "mine.yaml").write_text(definition)
    (tmp_path / "both.yaml").write_text("group: both\ntask: [{task: mine, num_fewshot: 2}]\n")
    (tmp_path / "circle.yaml").write_text("group: circle\ntask: [mine, circle]\n")
    (tmp_path / "lost.yaml").write_text("group: lost\ntask: [mine, gone]\n")
    (tmp_path / "code.yaml").write_text("include: mine.yaml\ntask: code\nprocess_docs: !function os.getcwd\n")
    monkeypatch.chdir(tmp_path)
    code = forecast("eval", "--model", ".", "--tasks", tasks, "--include-path", ".", "-q")
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    assert shown.out == ""
    assert code == (1 if "error: group" in shown.err else 2)


PREDICT = ("predict", "--flops", "1e22", "--db", "r.duckdb")
FIT = ("fit", "power-law", "--table", "runs.csv")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((*PREDICT, "--plot", "x.gif"), 2, "cannot draw 'x.gif'; expected a file name ending in .png, .svg, .pdf"),
        ((*PREDICT, "--plot", "runs.csv/x.png"), 1, "runs.csv is not a folder"),
        ((*PREDICT, "--plot", "locked/x.png"), 1, "locked is not writable"),
        ((*PREDICT, "--plot", "folder.png"), 1, "is a folder"),
        ((*PREDICT, "--method", "magic"), 2, "unknown method 'magic'"),
        ((*PREDICT, "--level", "90"), 2, "level is 90.0"),
        ((*PREDICT, "--recipe-shift", "-1"), 2, "recipe shift is -1.0"),
        (("predict", "--flops", "-1"), 2, "flops is -1; expected a number of training FLOPs"),
        (("predict", "--params", "1e9"), 2, "neither training FLOPs nor both"),
        (("backtest", "--plot", "x.gif"), 2, "cannot draw 'x.gif'"),
        (("report", "--db", "r.duckdb", "--out", "locked/r.html"), 1, "locked is not writable"),
        (("optimal", "-C", "1e22", "--table", "runs.csv", "--plot", "x.gif"), 2, "cannot draw 'x.gif'"),
        (("optimal", "-C", "1e22", "--table", "runs.csv", "--bootstrap", "3"), 2, "3 bootstrap replicates"),
        ((*FIT, "--fix", "c=1"), 2, "no parameter 'c'"),
        ((*FIT, "--fix", "alpha=nan"), 2, "alpha cannot be held at nan"),
        ((*FIT, "--soft", "c=1:1"), 2, "no parameter 'c'"),
        ((*FIT, "--soft", "alpha=1:0"), 2, "alpha has the soft value 1.0 +- 0.0"),
        ((*FIT, "--fix", "A=1", "--fix", "alpha=1"), 2, "every parameter is fixed"),
        ((*FIT, "--space", "square"), 2, "no residual space 'square'"),
        ((*FIT, "--bootstrap", "3"), 2, "3 bootstrap replicates; expected 0 for none, or at least 20"),
    ],
)
def test_refused_before_any_data_are_read(
    forecast: Command,
    db: Path,
    error_line: ErrorLine,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    readable = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "locked" and readable(path, mode))
    for name in ("locked", "folder.png"):
        Path(name).mkdir()
    for module in ("fit", "optimal"):
        monkeypatch.setattr(f"forecast.api.{module}.load_measurements", lambda *_, **__: pytest.fail("read"))
    for name in ("predict.load_with_siblings", "backtest.load_ladders"):
        monkeypatch.setattr(f"forecast.api.{name}", lambda *_, **__: pytest.fail("read"))
    monkeypatch.setattr("forecast.api.report.write_report", lambda *_, **__: pytest.fail("written"))
    assert forecast(*arguments, "--quiet") == code
    assert said in error_line()


@pytest.mark.parametrize("save_into", ["runs.csv", "none/r.duckdb", "locked.duckdb"])
def test_a_forecast_that_cannot_be_saved_is_not_made(
    forecast: Command, db: Path, error_line: ErrorLine, monkeypatch: pytest.MonkeyPatch, save_into: str
) -> None:
    readable = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: readable(path, mode) and (mode, Path(path).name) != (os.W_OK, "locked.duckdb")
    )
    monkeypatch.setattr("forecast.api.predict.load_with_siblings", lambda *_, **__: pytest.fail("read"))
    db.rename("locked.duckdb")
    before = {path.name: path.read_bytes() for path in Path().iterdir()}
    assert forecast("predict", "--flops", "1e22", "--table", "runs.csv", "--save", "--db", save_into) == 1
    assert save_into.split("/")[0] in error_line()
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == before
