"""A family from its card: cheapest first, what is done is skipped, one failure does not stop the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from forecast.api.train import TrainingInputs, estimate_family, train_family
from forecast.core.errors import ForecastError, InputError, PartialResultError, UsageError
from forecast.core.progress import SilentProgress
from forecast.training.demo_files import write_world
from forecast.training.world import make_world

CARD = """\
family: tiny
title: Tiny
training:
  architecture: gpt_neox
  context_length: 32
  schedule: {kind: cosine}
  members:
    - {name: tiny-b, hidden_size: 16, layers: 1, heads: 2, tokens: 5120, batch_tokens: 128}
    - {name: tiny-a, hidden_size: 8, layers: 1, heads: 2, tokens: 2560, batch_tokens: 128}
"""
TOO_LARGE = "    - {name: tiny-c, hidden_size: 1000000, layers: 9, heads: 2, tokens: 5120, batch_tokens: 128}\n"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_world(make_world(4, people=20), tmp_path_factory.mktemp("world"), tokens=6_000, items=20)


@pytest.fixture
def inputs(files):
    return TrainingInputs(corpus=files.corpus, tokenizer=files.tokenizer, validation=files.validation)


def write_card(folder: Path, text: str = CARD) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def weights(folder: Path, member: str, step: int):
    return {name: tensor.tolist() for name, tensor in load_file(folder / member / f"step{step}" / "model.safetensors").items()}


def test_family_is_trained_cheapest_first_then_skipped_and_its_losses_are_observations(tmp_path, inputs):
    card = write_card(tmp_path)
    report = train_family(card, inputs, folder=tmp_path / "out", db=tmp_path / "f.duckdb", threads=1)
    assert [path.parent.name for path in report.checkpoints] == ["tiny-b", "tiny-a"]
    written = {path.parent.name: (path / "forecast.json").stat().st_mtime_ns for path in report.checkpoints}
    assert written["tiny-a"] < written["tiny-b"]
    assert (report.skipped, report.failures, report.observations) == ((), {}, 2)

    from forecast.store import Store

    ladders = Store(tmp_path / "f.duckdb").ladders()
    assert [(ladder.task, len(ladder)) for ladder in ladders] == [("validation", 2)]
    assert (ladders[0].metrics["loss"] < 7).all()

    again = train_family(card, inputs, folder=tmp_path / "out", threads=1)
    assert again.skipped == ("tiny-a", "tiny-b")
    assert again.checkpoints == report.checkpoints


def test_side_by_side_training_gives_the_same_weights(tmp_path, inputs):
    card = write_card(tmp_path)
    train_family(card, inputs, folder=tmp_path / "one", threads=1)
    train_family(card, inputs, folder=tmp_path / "two", threads=1, jobs=2, largest_first=True)
    assert weights(tmp_path / "one", "tiny-a", 20) == weights(tmp_path / "two", "tiny-a", 20)
    assert weights(tmp_path / "one", "tiny-b", 40) == weights(tmp_path / "two", "tiny-b", 40)


def test_members_trained_first_are_kept_when_the_others_follow(tmp_path, inputs):
    card = write_card(tmp_path)
    first = train_family(card, inputs, folder=tmp_path / "parts", threads=1, members=["tiny-a"])
    rest = train_family(card, inputs, folder=tmp_path / "parts", threads=1)
    assert (len(first.checkpoints), rest.skipped, rest.failures) == (1, ("tiny-a",), {})
    train_family(card, inputs, folder=tmp_path / "whole", threads=1)
    assert weights(tmp_path / "parts", "tiny-a", 20) == weights(tmp_path / "whole", "tiny-a", 20)


def test_member_that_fits_no_memory_is_named_and_the_others_are_trained(tmp_path, inputs):
    card = write_card(tmp_path, CARD + TOO_LARGE)
    report = train_family(card, inputs, folder=tmp_path / "out", threads=1)
    assert {path.parent.name for path in report.checkpoints} == {"tiny-a", "tiny-b"}
    with pytest.raises(PartialResultError, match=r"1 member\(s\) failed.*'tiny-c' needs about .* GiB") as caught:
        report.raise_failures()
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("jobs", [1, 2])
def test_member_whose_loss_becomes_nan_is_named_and_the_others_are_kept(tmp_path, inputs, jobs):
    rates = {"tokens: 5120": "learning_rate: 10, tokens: 5120", "tokens: 2560": "learning_rate: 1.0e-5, tokens: 2560"}
    text = CARD.replace("  schedule", "  learning_rate_scale: 100\n  schedule")
    for plain, stated in rates.items():
        text = text.replace(plain, stated)
    card = write_card(tmp_path, text)
    report = train_family(card, inputs, folder=tmp_path / "out", db=tmp_path / "f.duckdb", threads=1, jobs=jobs)
    assert [path.parent.name for path in report.checkpoints] == ["tiny-a"]
    assert report.observations == 1
    assert not list((tmp_path / "out" / "tiny-b").glob("step*"))
    said = r"1 member\(s\) failed.*'tiny-b': the loss became (nan|inf) at step \d+; .*lower its learning rate \(1e\+03\)"
    with pytest.raises(PartialResultError, match=said) as caught:
        report.raise_failures()
    assert caught.value.exit_code == 3
    again = train_family(card, inputs, folder=tmp_path / "out", threads=1, jobs=jobs)
    assert again.skipped == ("tiny-a",)
    assert set(again.failures) == {"tiny-b"}


def test_family_of_which_nothing_could_be_trained_is_a_failure(tmp_path, inputs):
    card = write_card(tmp_path, CARD[: CARD.index("    - {name: tiny-b")] + TOO_LARGE)
    report = train_family(card, inputs, folder=tmp_path / "out", threads=1)
    with pytest.raises(ForecastError) as caught:
        report.raise_failures()
    assert caught.value.exit_code == 1


def test_three_short_documents_are_no_corpus(tmp_path, files):
    corpus = tmp_path / "small.txt"
    corpus.write_text("a b c\n<|endoftext|>\nd e f\n<|endoftext|>\ng h i\n", encoding="utf-8")
    report = train_family(
        write_card(tmp_path), TrainingInputs(corpus=corpus, tokenizer=files.tokenizer), folder=tmp_path / "out", threads=1
    )
    with pytest.raises(ForecastError, match="the corpus has 3 documents with 12 tokens; expected at least"):
        report.raise_failures()


def test_repeated_text_is_noticed(tmp_path, files):
    corpus = tmp_path / "short.txt"
    corpus.write_text("the home of x is in y . " * 200, encoding="utf-8")
    progress = SilentProgress()
    inputs = TrainingInputs(corpus=corpus, tokenizer=files.tokenizer)
    train_family(write_card(tmp_path), inputs, folder=tmp_path / "out", threads=1, members=["tiny-a"], progress=progress)
    assert progress.notices == ["tiny-a reads the corpus (1 documents, 1601 tokens) 1.6 times"]


def test_bad_utf8_and_unknown_members_are_refused_before_anything_is_trained(tmp_path, inputs, files):
    corpus = tmp_path / "bad.txt"
    corpus.write_bytes(b"ok\n\xff\n")
    with pytest.raises(InputError, match="line 2: byte 1"):
        train_family(write_card(tmp_path), TrainingInputs(corpus=corpus, tokenizer=files.tokenizer), folder=tmp_path / "out")
    with pytest.raises(UsageError, match="unknown member 'x'; expected one of tiny-b, tiny-a"):
        train_family(write_card(tmp_path), inputs, folder=tmp_path / "out", members=["x"])
    assert not list((tmp_path / "out").glob("tiny-*"))


def test_dry_run_trains_nothing(tmp_path, inputs):
    estimates = estimate_family(write_card(tmp_path), inputs, folder=tmp_path / "out")
    assert [(entry.member, entry.tokens, entry.steps, entry.done) for entry in estimates] == [
        ("tiny-b", 5120, 40, False),
        ("tiny-a", 2560, 20, False),
    ]
    assert all(entry.seconds > 0 and entry.memory_bytes > 0 and entry.flops > 0 for entry in estimates)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_killed_training_goes_on_to_the_same_weights(tmp_path, inputs):
    """kill -9 in the middle, two processes at work: nothing is left running, and the second run ends where one would."""
    card = write_card(tmp_path, CARD.replace("5120", "51200").replace("2560", "25600"))
    train_family(card, inputs, folder=tmp_path / "whole", threads=1)
    command = [sys.executable, "-m", "forecast", "train", str(card), "--corpus", str(inputs.corpus), "--tokenizer"]
    command += [str(inputs.tokenizer), "--output", str(tmp_path / "cut"), "--jobs", "2", "--threads", "1", "--save-every", "1"]
    command += ["--db", str(tmp_path / "f.duckdb"), "--quiet"]
    kills = 0
    while not list((tmp_path / "cut").glob("tiny-b/step*")) and kills < 20:
        with subprocess.Popen(command, env={**os.environ, "HF_HUB_OFFLINE": "1"}) as process:
            before = len(list((tmp_path / "cut").glob("*/.state/*/*/checkpoint-*/complete")))
            deadline = time.monotonic() + 120
            while process.poll() is None and time.monotonic() < deadline:
                states = list((tmp_path / "cut").glob("*/.state/*/*/checkpoint-*/complete"))
                if kills == 0 and len(states) > before:
                    process.send_signal(signal.SIGKILL)
                    break
                time.sleep(0.05)
        kills += 1
    assert kills >= 2
    for member, step in (("tiny-a", 200), ("tiny-b", 400)):
        assert weights(tmp_path / "whole", member, step) == weights(tmp_path / "cut", member, step)


@pytest.mark.slow
def test_torchrun_trains_in_several_processes(tmp_path, inputs):
    card = write_card(tmp_path)
    train_family(card, inputs, folder=tmp_path / "one", threads=1, members=["tiny-a"])
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        "29617",
        "-m",
        "forecast",
    ]
    command += ["train", str(card), "--corpus", str(inputs.corpus), "--tokenizer", str(inputs.tokenizer), "--members", "tiny-a"]
    command += ["--output", str(tmp_path / "two"), "--threads", "1", "--db", str(tmp_path / "f.duckdb"), "--quiet"]
    subprocess.run(command, check=True, timeout=300)
    one, two = (load_file(tmp_path / name / "tiny-a" / "step20" / "model.safetensors") for name in ("one", "two"))
    assert all(one[name].allclose(two[name], atol=5e-3) for name in one)
