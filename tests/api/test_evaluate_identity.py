"""What a stored score belongs to: weights, configuration and tokenizer together; its name does not change in silence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import transformers

from forecast.api.evaluate import EvaluationReport
from forecast.core.errors import CheckpointError
from forecast.core.progress import SilentProgress
from forecast.core.records import CheckpointRequest
from forecast.evaluation import identity as evaluate_identity
from forecast.scoring import checkpoint_sweep
from forecast.scoring.checkpoint_files import checkpoint_identity, identity_without_tokenizer
from forecast.scoring.checkpoint_loading import load_tokenizer
from forecast.scoring.tokenizer_check import count_unknown
from forecast.store import Store

Run = Callable[..., EvaluationReport]


class Listening(SilentProgress):
    def __init__(self) -> None:
        self.said: list[str] = []

    def notice(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def copy(checkpoints: list[Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoints[0], tmp_path / "copies" / "twin"))


def swap_tokens(folder: Path) -> None:
    """Another tokenizer of the same size: two letters change places."""
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = content["model"]["vocab"]
    vocabulary["a"], vocabulary["e"] = vocabulary["e"], vocabulary["a"]
    path.write_text(json.dumps(content), encoding="utf-8")


def word_tokenizer(folder: Path, vocabulary: dict[str, int]) -> None:
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", eos_token="<eos>")
    fast.save_pretrained(folder)


def test_another_tokenizer_is_another_checkpoint(checkpoints: list[Path], copy: Path, run: Run) -> None:
    first = run(checkpoints[0], ["toy_choice"]).rows[0]
    swap_tokens(copy)
    second = run(copy, ["toy_choice"]).rows[0]
    assert (second["model"], second["nll_per_char"]) != (first["model"], first["nll_per_char"])
    assert run(checkpoints[0], ["toy_choice"]).rows[0] == first


def test_a_broken_tokenizer_gets_nobodys_scores(checkpoints: list[Path], copy: Path, run: Run, tmp_path: Path) -> None:
    run(checkpoints[0], ["toy_choice"])
    (copy / "tokenizer.json").write_text("{}")
    report = run([copy, checkpoints[1]], ["toy_choice"])
    assert [row["model"] for row in report.rows] == ["toy-1"]
    assert "the tokenizer in" in report.failures[0].error
    models = [row["model"] for part in Store(tmp_path / "results.duckdb").query("FROM scores") for row in part.to_pylist()]
    assert sorted(models) == ["toy-0", "toy-1"]


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        ({"<unk>": 0, "<eos>": 1}, "has no vocabulary"),
        ({"<unk>": 0, "<eos>": 1, "zebra": 2}, r"all .* tokens to score are unknown to the tokenizer \('<unk>'\)"),
        (
            {"<unk>": 0, "<eos>": 1, "cat": 5000, "dog": 5001, "the": 5002},
            "gives token 5002, and the model's embedding",
        ),
    ],
)
def test_a_tokenizer_of_another_model_is_refused(vocabulary: dict[str, int], message: str, copy: Path, run: Run) -> None:
    word_tokenizer(copy, vocabulary)
    with pytest.raises(Exception, match=message):
        run(copy, ["toy_choice"]).raise_failures()


def test_some_unknown_tokens_are_said(copy: Path, run: Run) -> None:
    words = ["<unk>", "<eos>", "cat", "dog", "mat", "0", "1", "2", "3"]
    word_tokenizer(copy, {word: i for i, word in enumerate(words)})
    progress = Listening()
    run(copy, ["toy_choice"], progress=progress).raise_failures()
    assert any("distinct scored tokens are unknown to the tokenizer" in line for line in progress.said)


class Failing:
    unk_token_id = None

    def get_vocab(self) -> dict[str, int]:
        return {"a": 0}

    def get_added_vocab(self) -> dict[str, int]:
        return {}

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise StopIteration


def test_a_tokenizer_that_cannot_encode_is_refused(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda *_, **__: Failing())
    with pytest.raises(CheckpointError, match=r"cannot encode a sentence: something expected was not found \(StopIteration\)"):
        load_tokenizer(copy)


def test_end_of_text_that_stands_for_the_unknown_is_not_counted() -> None:
    import numpy as np

    token = type("Gpt2", (), {"unk_token_id": 0, "eos_token_id": 0, "bos_token_id": 0, "unk_token": "<|endoftext|>"})
    assert count_unknown(token, np.array([0, 3, 0])) == 0
    with pytest.raises(CheckpointError, match="all 2 tokens"):
        count_unknown(token, np.array([0, 0]))


def test_a_copy_under_another_name_keeps_the_stored_name_and_says_so(
    checkpoints: list[Path], copy: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(checkpoints[0], ["toy_choice"]).rows
    monkeypatch.setattr(checkpoint_sweep, "load_checkpoint", lambda *_, **__: pytest.fail("loaded again"))
    progress = Listening()
    assert run(copy, ["toy_choice"], progress=progress).rows == first
    assert any("are stored as 'toy-0' of family" in line and "stay so" in line for line in progress.said)


def test_a_name_that_the_user_gives_is_taken_and_said(checkpoints: list[Path], world: Path, tmp_path: Path) -> None:
    from forecast.api.evaluate import evaluate

    options: dict[str, Any] = {
        "tasks": ["toy_choice"],
        "db": tmp_path / "results.duckdb",
        "include_path": world / "tasks",
        "data_dir": world / "data",
    }
    evaluate([CheckpointRequest(source=str(checkpoints[0]))], **options)
    progress = Listening()
    named = CheckpointRequest(source=str(checkpoints[0]), family="mine", model="mine-1")
    [row] = evaluate([named], **options, progress=progress).rows
    assert (row["family"], row["model"]) == ("mine", "mine-1")
    assert any(
        "stored as 'toy-0' of family" in line and "'mine-1' of family 'mine' from now on" in line for line in progress.said
    )


def test_two_copies_in_one_sweep_are_one_checkpoint(checkpoints: list[Path], copy: Path, run: Run) -> None:
    progress = Listening()
    rows = run([checkpoints[0], copy], ["toy_choice"], progress=progress).rows
    assert [row["model"] for row in rows] == ["toy-0"]
    assert any(f"{copy} holds the weights and the tokenizer of {checkpoints[0]}" in line for line in progress.said)


def test_files_of_earlier_versions_go_on_unless_the_tokenizer_speaks_against_it(
    checkpoints: list[Path], copy: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(evaluate_identity, "checkpoint_identity", identity_without_tokenizer)
        old = run(checkpoints[0], ["toy_choice"]).rows[0]
    assert run(checkpoints[0], ["toy_choice"]).rows[0]["run_id"] == old["run_id"]
    assert run(checkpoints[0], ["toy_word"]).rows[0]["checkpoint_id"] == identity_without_tokenizer(checkpoints[0])
    swap_tokens(copy)
    assert identity_without_tokenizer(copy) == identity_without_tokenizer(checkpoints[0])
    anew = run(copy, ["toy_choice"]).rows[0]
    assert anew["checkpoint_id"] == checkpoint_identity(copy)
    with monkeypatch.context() as earlier:
        # A file in which an earlier version mixed two tokenizers: nothing of it is reused.
        earlier.setattr(evaluate_identity, "checkpoint_identity", identity_without_tokenizer)
        run(copy, ["toy_choice"], limit=5)
    assert run(checkpoints[0], ["toy_choice"]).rows[0]["run_id"] != old["run_id"]
