"""Whatever one checkpoint raises, at whatever stage, is its own failure in one line; the others are scored."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forecast.api.evaluate import EvaluationReport
from forecast.core.errors import ForecastError, InputError, PartialResultError
from forecast.evaluation import run_in_progress
from forecast.evaluation import sweep as evaluate_family
from forecast.evaluation.model_names import read_model
from forecast.evaluation.scorers import native
from forecast.scoring import checkpoint_loading, packed_forward
from forecast.scoring.text_files import render_text_file
from forecast.store import Store

Run = Callable[..., EvaluationReport]
STAGES: dict[str, tuple[Any, str]] = {
    "looking": (evaluate_family, "check_path"),
    "configuration": (evaluate_family, "read_config"),
    "headers": (evaluate_family, "count_parameters"),
    "identity": (evaluate_family, "tokenizer_identity"),
    "model type": (native, "holds_masked_model"),
    "tokenizer": (checkpoint_loading, "load_tokenizer"),
    "weights": (checkpoint_loading, "_load_model"),
    "plan": (native.PlanCache, "get"),
    "forward": (packed_forward.PackedModel, "score_batch"),
    "registering": (Store, "open_run"),
    "storing": (Store, "append"),
    "closing": (Store, "close_run"),
    "committing": (Store, "commit"),
}
ERRORS = [
    ZeroDivisionError("integer modulo by zero"),
    PermissionError(13, "Permission denied", "/data/x"),
    StopIteration(),
    IndexError(),
    RecursionError(),
    MemoryError(),
    KeyError("model"),
    ValueError("<torch.storage.UntypedStorage object at 0x7f00aa10>\nmore"),
    type("OddError", (Exception,), {})(),
]


@pytest.mark.parametrize("stage", STAGES)
def test_whatever_a_checkpoint_raises_is_its_own_failure(
    stage: str, checkpoints: list[Path], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name = STAGES[stage]
    error = ERRORS[list(STAGES).index(stage) % len(ERRORS)]
    honest = getattr(owner, name)
    raised: list[BaseException] = []

    def failing(*args: Any, **settings: Any) -> Any:
        if not raised:
            raised.append(error)
            raise error
        return honest(*args, **settings)

    monkeypatch.setattr(run_in_progress, "_FLUSH_ITEMS", 5)
    monkeypatch.setattr(owner, name, failing)
    report = run(checkpoints[:2], ["toy_choice"])
    assert raised
    assert [row["model"] for row in report.rows] == ["toy-1"]
    [failure] = report.failures
    assert re.search("toy-0|stored", failure.line)
    assert "\n" not in failure.line
    assert " at 0x" not in failure.line
    assert not re.search(r": *(;|$)", failure.line)
    with pytest.raises(PartialResultError) as caught:
        report.raise_failures()
    assert caught.value.exit_code == 3


def test_an_interrupt_is_no_failure_of_a_checkpoint(checkpoints: list[Path], run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint_loading, "_load_model", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(checkpoints[:2], ["toy_choice"])


def test_bad_folders_between_good_ones(checkpoints: list[Path], run: Run, tmp_path: Path) -> None:
    def damaged(name: str) -> Path:
        return Path(shutil.copytree(checkpoints[0], tmp_path / "bad" / name))

    pipe, nested, heads, note = (damaged(name) for name in ("pipe", "nested", "heads", "note"))
    (pipe / "model.safetensors").unlink()
    os.mkfifo(pipe / "model.safetensors")
    (nested / "config.json").write_text("[" * 100_000)
    config = (heads / "config.json").read_text()
    (heads / "config.json").write_text(config.replace('"num_attention_heads": 2', '"num_attention_heads": 5'))
    (note / "forecast.json").write_text(json.dumps({"family": "f", "model": "m", "params": 10**30}))
    report = run([checkpoints[0], pipe, nested, heads, note, checkpoints[1]], ["toy_choice"])
    assert [row["model"] for row in report.rows] == ["toy-0", "toy-1"]
    said = {Path(failure.source).name: failure.line for failure in report.failures}
    assert "model.safetensors is a named pipe" in said["pipe"]
    assert "nested too deeply" in said["nested"]
    assert "config.json" in said["heads"]
    assert "64 bits" in said["note"]


def test_text_from_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "text.txt")
    with pytest.raises(InputError, match="is a named pipe"):
        render_text_file(tmp_path / "text.txt")


@pytest.mark.parametrize("name", ["a" * 5000, "./" + "a" * 5000, "a\0b"])
def test_names_that_no_file_can_have_are_refused(name: str) -> None:
    with pytest.raises(ForecastError, match=r"cannot be looked at: File name too long|is not a folder"):
        read_model(name)


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "is_dir", refused)
    with pytest.raises(InputError, match="'/root/secret' cannot be looked at: Permission denied"):
        read_model("/root/secret")
