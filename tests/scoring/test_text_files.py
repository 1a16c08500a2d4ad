"""`--text`: any text file is scored as lm-eval would score it as a rolling task, and bad files are named."""

from __future__ import annotations

import gzip
import lzma
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from typer.testing import CliRunner

from forecast.api.evaluate import evaluate
from forecast.cli.app import build_app
from forecast.core.errors import InputError, UsageError
from forecast.core.progress import SilentProgress
from forecast.core.records import CheckpointRequest
from forecast.report.perplexity import with_perplexity
from forecast.scoring.checkpoint_loading import load_checkpoint
from forecast.scoring.text_files import render_text_file, render_text_files
from forecast.store import Store

DOCUMENTS = ["the cat sat on the mat. " * 12 + "é 北京 🙂", "the dog ran\n\nto the red barn", "an apple"]
END = "<|endoftext|>"


def write(folder: Path, text: str, name: str = "set.txt") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def documents_of(path: Path) -> list[str]:
    return [item.choices[0] for item in render_text_file(path).record.items]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one\ntwo\n", ["one\ntwo"]),
        (f"one\n{END}\ntwo\n", ["one", "two"]),
        (f"one\r\n{END}\r\ntwo\r\n{END}\r\n", ["one", "two"]),
        (f"one\n  {END}  \n two\n{END}", ["one", " two"]),
        (f"one {END}\ntwo", [f"one {END}\ntwo"]),
        (f"{END}\none\n{END}\n{END}\ntwo", ["one", "two"]),
        ("\ufeffone", ["one"]),
        ("no line end", ["no line end"]),
    ],
)
def test_documents_end_at_lines_of_their_own(tmp_path: Path, text: str, expected: list[str]) -> None:
    assert documents_of(write(tmp_path, text)) == expected


def test_compression_does_not_change_what_is_asked_and_content_does(tmp_path: Path) -> None:
    text = f"\n{END}\n".join(DOCUMENTS)
    plain = render_text_file(write(tmp_path, text))
    for suffix, pack in ((".txt.gz", gzip.compress), (".xz", lzma.compress)):
        (tmp_path / f"set{suffix}").write_bytes(pack(text.encode()))
        packed = render_text_file(tmp_path / f"set{suffix}")
        assert packed.record.task == "text:set"
        assert packed.record.task_id == plain.record.task_id
    other = render_text_file(write(tmp_path, text + "!"))
    assert other.record.task == plain.record.task
    assert other.record.definition_hash != plain.record.definition_hash
    first = render_text_file(write(tmp_path, text), limit=1)
    assert first.record.definition_hash == plain.record.definition_hash
    assert first.record.task_id != plain.record.task_id
    assert len(first.requests) == 1


def test_characters_and_bytes_are_those_of_the_scored_text(tmp_path: Path) -> None:
    task = render_text_file(write(tmp_path, f"\n{END}\n".join(DOCUMENTS) + "\n"))
    assert [item.n_chars for item in task.record.items] == [(len(text),) for text in DOCUMENTS]
    assert [item.n_bytes for item in task.record.items] == [(len(text.encode()),) for text in DOCUMENTS]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no file .*expected a UTF-8 text file"),
        (b"", "holds no text .0 bytes"),
        (f"\n{END}\n \n{END}\n".encode(), "holds no text"),
        (b"caf\xe9 au lait", r"byte 3 .* is 0xe9, line 1"),
        (b"fine\n" * 3 + b"\xff\xfe", r"byte 15 .* is 0xff, line 4"),
        (b"\xef\xbb\xbfcut \xf0\x9f", r"byte 7 .* is 0xf0"),
    ],
)
def test_bad_files_are_named_with_what_is_wrong(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "bad.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        render_text_file(path)


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_damaged_archives_are_refused(tmp_path: Path, suffix: str) -> None:
    whole = (gzip.compress if suffix == ".gz" else lzma.compress)(b"the cat sat on the mat" * 99)
    for name, content in (("cut", whole[:-9]), ("plain", b"the cat"), ("flipped", whole[:30] + b"\0\1\2\3" + whole[34:])):
        path = tmp_path / f"{name}{suffix}"
        path.write_bytes(content)
        with pytest.raises(InputError, match="cannot be read"):
            render_text_file(path)


def test_empty_documents_are_left_out_and_said_so(tmp_path: Path) -> None:
    notices: list[str] = []
    task = render_text_file(write(tmp_path, f"one\n{END}\n \n{END}\ntwo {END} three"), on_notice=notices.append)
    assert [item.choices for item in task.record.items] == [("one",), (f"two {END} three",)]
    assert "1 of 3 documents are empty" in notices[0]
    assert "inside a line" in notices[1]


def test_files_of_one_name_must_hold_one_text(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = write(tmp_path / "a", "one"), write(tmp_path / "b", "two")
    with pytest.raises(UsageError, match="would both be task 'text:set'"):
        render_text_files([first, second], limit=None)
    assert len(render_text_files([first, first, write(tmp_path / "b", "one")], limit=None)) == 1


@pytest.mark.parametrize("architecture", ["gpt_neox", "mamba"])
def test_stored_scores_are_lm_evals_rolling_ones(
    architecture: str, make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_checkpoint(architecture, window=32)
    path = write(tmp_path, f"\n{END}\n".join(DOCUMENTS))
    db = tmp_path / "x.duckdb"
    report = evaluate([CheckpointRequest(source=str(folder))], tasks=[], text_files=[path], db=db, progress=SilentProgress())
    (row,) = with_perplexity(report.rows)
    checkpoint = load_checkpoint(folder, dtype="float32", device="cpu")
    theirs = HFLM(pretrained=checkpoint.model, tokenizer=checkpoint.tokenizer, batch_size=1)
    asked = [Instance("loglikelihood_rolling", {}, (text,), i) for i, text in enumerate(DOCUMENTS)]
    expected = theirs.loglikelihood_rolling(asked, disable_tqdm=True)
    stored = [
        entry
        for batch in Store(db).query("SELECT loglikelihoods[1] AS ll, n_tokens[1] AS n FROM item_scores ORDER BY item_idx")
        for entry in batch.to_pylist()
    ]
    assert [entry["ll"] for entry in stored] == pytest.approx(expected, abs=1e-3)
    tokens = [len(ids) for ids in checkpoint.tokenizer(DOCUMENTS)["input_ids"]]
    assert [entry["n"] for entry in stored] == tokens
    n_bytes = sum(len(text.encode()) for text in DOCUMENTS)
    assert row["task"] == "text:set"
    assert row["nll_per_token"] == pytest.approx(-sum(expected) / sum(tokens), rel=1e-6)
    assert row["bits_per_byte"] == pytest.approx(-sum(expected) / n_bytes / math.log(2), rel=1e-6)
    assert row["perplexity"] == pytest.approx(math.exp(-sum(expected) / sum(tokens)), rel=1e-6)
    again = evaluate([CheckpointRequest(source=str(folder))], tasks=[], text_files=[path], db=db, progress=SilentProgress())
    assert again.rows[0]["run_id"] == row["run_id"]


def test_the_command_scores_text_and_refuses_bad_files(make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    folder, db = make_checkpoint("gpt_neox"), tmp_path / "x.duckdb"
    path = write(tmp_path, DOCUMENTS[0])
    command = ["eval", "--model", str(folder), "--db", str(db), "--quiet", "--text"]
    done = CliRunner().invoke(build_app(), [*command, str(path)])
    assert done.exit_code == 0, done.output
    assert "text:set" in done.stdout
    assert "perplexity" in done.stdout
    refused = CliRunner().invoke(build_app(), [*command, str(tmp_path / "none.txt")])
    assert isinstance(refused.exception, InputError)
    assert "none.txt" in str(refused.exception)
