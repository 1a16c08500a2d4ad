"""What cannot be meant is refused before any work: before models are loaded, laws fitted, or a forecast printed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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
        (("--model", ".", "--tokens", "0", "--tasks", "arc_easy"), 2),
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


def test_eval_refuses_an_unknown_task_before_it_imports_torch(tmp_path: Path) -> None:
    definition = "task: mine\ndataset_path: json\noutput_type: multiple_choice\ntest_split: test\n"
    (tmp_path / "mine.yaml").write_text(definition)
    code = """
import functools, sys
from pathlib import Path
from forecast.core.errors import UsageError
from forecast.core.records import CheckpointRequest
from forecast.scoring import task_source
from forecast.workflows.evaluate import evaluate
# lm-eval's own thousands of definitions take seconds to index.
task_source.TaskManager = functools.partial(task_source.TaskManager, include_defaults=False)
try:
    evaluate([CheckpointRequest(source=".")], tasks=["mien"], db=Path("r.duckdb"), include_path=Path())
except UsageError as error:
    print("nearest: mine" in str(error), "torch" in sys.modules, "transformers" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout == "True False False\n"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]
