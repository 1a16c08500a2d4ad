"""A sweep over numbers of examples: runs of their own, planned together, each checkpoint loaded once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forecast.api.evaluate import EvaluationReport
from forecast.core.errors import InputError, UsageError
from forecast.scoring import checkpoint_sweep

FIXED = """
task: toy_fixed
include: 0.yaml
num_fewshot: 0
"""
FIRST = """
task: toy_first
include: 0.yaml
fewshot_config: {sampler: first_n}
"""


@pytest.fixture(scope="module")
def folder(world: Path) -> Path:
    (world / "tasks" / "fixed.yaml").write_text(FIXED)
    (world / "tasks" / "first.yaml").write_text(FIRST)
    return world / "tasks"


def test_a_sweep_gives_the_runs_of_its_numbers_alone(
    checkpoints: list[Path], run: Callable[..., EvaluationReport], tmp_path: Path
) -> None:
    swept = run(checkpoints[0], ["toy_word", "toy_choice"], num_fewshot=[2, 0, 5, 2]).rows
    assert [(row["task"], row["num_fewshot"]) for row in swept] == [
        (task, shots) for task in ("toy_choice", "toy_word") for shots in (0, 2, 5)
    ]
    for row in swept:
        [alone] = run(checkpoints[0], [str(row["task"])], num_fewshot=row["num_fewshot"], db=tmp_path / "alone.duckdb").rows
        assert alone["run_id"] == row["run_id"]
        assert alone["nll_per_char"] == pytest.approx(row["nll_per_char"], abs=1e-6)


def test_headers_are_shared_and_a_checkpoint_is_loaded_once(
    checkpoints: list[Path],
    run: Callable[..., EvaluationReport],
    tmp_path: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def tokens(shots: Any, name: str) -> int:
        return sum(
            int(str(row["tokens_unique"]))
            for row in run(checkpoints[0], ["toy_first"], num_fewshot=shots, db=tmp_path / name).rows
        )

    apart = sum(tokens(shots, f"{shots}.duckdb") for shots in (1, 2, 4))
    real, loaded = checkpoint_sweep.load_checkpoint, []
    monkeypatch.setattr(checkpoint_sweep, "load_checkpoint", lambda *a, **k: (loaded.append(a), real(*a, **k))[1])
    # The first example is the beginning of all three headers, and is computed once.
    assert tokens((1, 2, 4), "swept.duckdb") < apart
    assert len(loaded) == 1


def test_a_task_that_takes_no_examples_is_asked_once(
    checkpoints: list[Path], run: Callable[..., EvaluationReport], folder: Path
) -> None:
    from forecast.core.progress import SilentProgress

    class Said(SilentProgress):
        texts: list[str] = []  # noqa: RUF012

        def notice(self, text: str) -> None:
            self.texts.append(text)

    said = Said()
    rows = run(checkpoints[0], ["toy_fixed", "toy_text"], num_fewshot=[0, 3], progress=said).rows
    assert [(row["task"], row["num_fewshot"]) for row in rows] == [("toy_fixed", 0), ("toy_text", 0)]
    assert [text for text in said.texts if "without examples" in text] == [
        f"{name}: asked once, without examples: its definition takes none" for name in ("toy_fixed", "toy_text")
    ]


def test_errors_name_task_and_shots(checkpoints: list[Path], run: Callable[..., EvaluationReport]) -> None:
    with pytest.raises(InputError, match="task 'toy_choice' with 50 shots, item 0 cannot be rendered"):
        run(checkpoints[0], ["toy_choice"], num_fewshot=[0, 50])


@pytest.mark.parametrize("shots", [[], [-1], -1, [1, "2"], [True], 1.5, "5"])
def test_what_is_no_number_of_examples_is_refused(
    shots: Any, checkpoints: list[Path], run: Callable[..., EvaluationReport]
) -> None:
    with pytest.raises(UsageError, match="num_fewshot"):
        run(checkpoints[0], ["toy_choice"], num_fewshot=shots)


def test_a_sweep_goes_on_where_one_of_its_numbers_was_scored_before(
    checkpoints: list[Path], run: Callable[..., EvaluationReport]
) -> None:
    [first] = run(checkpoints[0], ["toy_choice"], num_fewshot=2).rows
    swept = {row["num_fewshot"]: row for row in run(checkpoints[0], ["toy_choice"], num_fewshot=[0, 2]).rows}
    assert swept[2] == first
    again = run(checkpoints[0], ["toy_choice"], num_fewshot=[0, 2]).rows
    assert again == (swept[0], swept[2])
