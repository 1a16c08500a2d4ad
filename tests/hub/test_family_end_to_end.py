"""`forecast eval --family` on a family that lies on a hub which misbehaves: the command itself, in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CARD = """\
family: tiny
title: Tiny
flops_convention: 6nd-non-embedding
tokens_per_step: {{value: 1000, source: "https://example.org/tiny"}}
revisions:
  steps: [1, 10, 100]
  final: 100
  main: final
  source: "https://example.org/tiny"
models:
  - name: tiny-a
    size: 1m
    hub: lab/tiny-a
    params: {params[0]}
    params_non_embedding: {non_embedding[0]}
    source: "https://example.org/tiny"
  - name: tiny-b
    size: 2m
    hub: lab/tiny-b
    params: {params[1]}
    params_non_embedding: {non_embedding[1]}
    source: "https://example.org/tiny"
"""

TASK = """\
task: sums
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: gold
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""


def write_tokenizer(folder: Path, *, merges: int) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=256 + merges, special_tokens=["<|end|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(["one plus two is three and two plus two is four"] * 5, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>", "bos_token": "<|end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def write_checkpoint(folder: Path, *, width: int, seed: int, merges: int = 20) -> tuple[int, int]:
    import torch
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    torch.manual_seed(seed)
    config = GPTNeoXConfig(
        vocab_size=300,
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = GPTNeoXForCausalLM(config)
    model.save_pretrained(folder)
    write_tokenizer(folder, merges=merges)
    total = sum(parameter.numel() for parameter in model.parameters())
    return total, total - 2 * 300 * width


@pytest.fixture
def family(hub, tmp_path: Path) -> Path:
    """A card, a task, and a hub that holds the family's checkpoints but one."""
    counts = []
    for name, width in (("tiny-a", 16), ("tiny-b", 24)):
        for step in (1, 10, 100):
            folder = tmp_path / "published" / name / f"step{step}"
            folder.mkdir(parents=True)
            count = write_checkpoint(folder, width=width, seed=step)
            if (name, step) != ("tiny-a", 10):
                hub.add_folder(f"lab/{name}", f"step{step}", folder)
        counts.append(count)
    card = tmp_path / "tiny.yaml"
    params, non_embedding = zip(*counts, strict=True)
    card.write_text(CARD.format(params=params, non_embedding=non_embedding))
    data = tmp_path / "sums.jsonl"
    rows = [
        {"question": f"{a} plus {b} is", "choices": [str(a + b), str(a * b + 7)], "gold": 0} for a in range(4) for b in range(4)
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    (tasks / "sums.yaml").write_text(TASK.format(data=data))
    return card


def forecast(folder: Path, hub, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))},
        "HF_HOME": str(folder / "hf"),
        "HF_ENDPOINT": hub.endpoint,
        "HF_HUB_DOWNLOAD_TIMEOUT": "5",
        "HF_DATASETS_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(
        [sys.executable, "-m", "forecast", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def score(folder: Path, hub, card: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    shared = ("--family", str(card), "--revisions", "all", "--tasks", "sums", "--include-path", str(folder / "tasks"))
    return forecast(folder, hub, "eval", *shared, "--db", str(folder / "r.duckdb"), "--json", *arguments)


def test_a_family_on_a_faulty_hub_is_scored_but_for_what_is_missing(hub, family: Path, tmp_path: Path) -> None:
    # Too many requests, a line that drops, wrong bytes, a server that has a bad moment.
    hub.break_next("lab/tiny-a/revision/step1", status=429, headers=(("Retry-After", "0"),))
    hub.break_next("model.safetensors", cut_after=5000)
    hub.break_next("model.safetensors", corrupt=True)
    hub.break_next("lab/tiny-b/revision/step10", status=503)

    dry = forecast(
        tmp_path, hub, "fetch", "--family", str(family), "--revisions", "all", "--sizes", "1m", "--dry-run", "--json"
    )
    planned = {row["revision"]: row for row in json.loads(dry.stdout)}
    assert dry.returncode == 3, dry.stderr
    assert planned["step10"]["status"] == "failed"
    assert planned["step1"]["status"] == "to fetch"
    assert planned["step1"]["downloaded_bytes"] == planned["step1"]["total_bytes"] > 10_000
    assert not hub.gets("model.safetensors")

    done = score(tmp_path, hub, family)
    assert done.returncode == 3, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error:")
    assert "lab/tiny-a@step10" in last
    assert "no such revision" in last
    assert "Traceback" not in done.stderr
    rows = json.loads(done.stdout)
    assert {(row["model"], row["revision"]) for row in rows} == {
        ("tiny-a", "step1"),
        ("tiny-a", "step100"),
        ("tiny-b", "step1"),
        ("tiny-b", "step10"),
        ("tiny-b", "step100"),
    }
    assert all(row["family"] == "tiny" and row["n_items"] == 16 for row in rows)
    last_row = next(row for row in rows if (row["model"], row["step"]) == ("tiny-b", 100))
    assert last_row["flops"] == 6 * last_row["params_non_embedding"] * 100_000

    listed = json.loads(
        forecast(
            tmp_path, hub, "sql", "--db", str(tmp_path / "r.duckdb"), "--format", "json",
            "SELECT model, revision, revision_sha FROM checkpoints ORDER BY model, step",
        ).stdout
    )  # fmt: skip
    assert [row["revision_sha"] for row in listed if row["model"] == "tiny-b"] == [
        hub.repos["lab/tiny-b"].revisions[f"step{step}"] for step in (1, 10, 100)
    ]

    # The missing checkpoint appears: only it is fetched and scored, though the cache is gone.
    shutil.rmtree(tmp_path / "hf")
    hub.add_folder("lab/tiny-a", "step10", tmp_path / "published" / "tiny-a" / "step10")
    before = len(hub.gets("model.safetensors"))
    again = score(tmp_path, hub, family)
    assert again.returncode == 0, again.stderr
    assert len(hub.gets("model.safetensors")) == before + 1
    assert len(json.loads(again.stdout)) == 6


def test_a_sibling_with_another_tokenizer_is_refused_and_a_wrong_count_is_noticed(hub, family: Path, tmp_path: Path) -> None:
    odd = tmp_path / "published" / "odd"
    odd.mkdir()
    write_checkpoint(odd, width=24, seed=1, merges=5)
    hub.add_folder("lab/tiny-b", "step100", odd)
    smaller, _, larger = family.read_text().rpartition("    params: ")
    family.write_text(f"{smaller}    params: 1{larger}")
    done = score(tmp_path, hub, family, "--revisions", "final")
    assert done.returncode == 3, done.stderr
    assert "tiny-b step100 splits text otherwise than its sibling tiny-a" in done.stderr.replace("\n", " ")
    assert "tiny-b: parameters:" in done.stderr
    assert [row["model"] for row in json.loads(done.stdout)] == ["tiny-a"]
