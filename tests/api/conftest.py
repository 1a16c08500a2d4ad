"""Toy checkpoints, toy tasks on a toy mirror, and an evaluation of them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from forecast.api.evaluate import EvaluationReport

MirrorWriter = Callable[[Path, dict[str, list[dict[str, Any]]]], Path]

CHOICE_TASK = """
task: toy_choice
dataset_path: toy/choice
output_type: multiple_choice
training_split: train
test_split: test
doc_to_text: "Q: {{question}}\\nA:"
doc_to_target: gold
doc_to_choice: choices
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
"""
CONTEXT_TASK = """
task: toy_context
dataset_path: toy/choice
output_type: multiple_choice
test_split: test
doc_to_text: "{{gold}}"
doc_to_target: "and that is all"
doc_to_choice: "{{choices}}"
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
"""
SEVERAL_GOLDS_TASK = """
task: toy_golds
dataset_path: toy/choice
output_type: multiple_choice
test_split: test
doc_to_text: "Q: {{question}}\\nA:"
doc_to_target: "{{[gold, 0]}}"
doc_to_choice: choices
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
"""
WORD_TASK = """
task: toy_word
dataset_path: toy/choice
output_type: loglikelihood
test_split: test
doc_to_text: "{{question}}"
doc_to_target: " {{choices[gold]}}"
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: perplexity, aggregation: perplexity, higher_is_better: false}
"""
TEXT_TASK = """
task: toy_text
dataset_path: toy/choice
output_type: loglikelihood_rolling
test_split: test
doc_to_text: ""
doc_to_target: "{{question}} {{question}} {{question}}"
metric_list:
  - {metric: byte_perplexity, aggregation: weighted_perplexity, higher_is_better: false}
"""
WRITTEN_TASK = """
task: toy_written
dataset_path: toy/choice
output_type: generate_until
test_split: test
doc_to_text: "Q: {{question}}\\nA:"
doc_to_target: "{{choices[gold]}}"
generation_kwargs: {until: ["\\n"]}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
"""
GROUP = """
group: toy_group
task: [toy_choice, toy_word]
"""


def build_checkpoint(folder: Path, seed: int = 0, width: int = 32) -> Path:
    import tokenizers
    import torch
    import transformers

    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=280, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(["the red cat sat on the mat and the dog ran"] * 3, trainer)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<|endoftext|>", eos_token="<|endoftext|>"
    ).save_pretrained(folder)
    torch.manual_seed(seed)
    config = transformers.GPTNeoXConfig(
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        vocab_size=280,
        max_position_embeddings=256,
        bos_token_id=0,
        eos_token_id=0,
        initializer_range=0.3,
    )
    transformers.GPTNeoXForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("toys")
    return [build_checkpoint(root / f"toy-{seed}", seed) for seed in range(3)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tasks/` with definitions and `data/`, a mirror with one data set."""
    root = tmp_path_factory.mktemp("world")
    (root / "tasks").mkdir()
    definitions = (CHOICE_TASK, CONTEXT_TASK, SEVERAL_GOLDS_TASK, WORD_TASK, TEXT_TASK, WRITTEN_TASK, GROUP)
    for i, definition in enumerate(definitions):
        (root / "tasks" / f"{i}.yaml").write_text(definition)
    generator = np.random.default_rng(0)
    words = ["cat", "dog", "mat", "barn", "apple", "é北", "tree", "of", "the", "moon", "run"]

    def item() -> dict[str, Any]:
        drawn = [" ".join(generator.choice(words, size=generator.integers(1, 4))) for _ in range(8)]
        return {
            "question": " ".join(drawn[:3]),
            "choices": [f"{text} {i}" for i, text in enumerate(drawn[3:7])],
            "gold": int(generator.integers(4)),
        }

    make_mirror(root / "data", {"test": [item() for _ in range(30)], "train": [item() for _ in range(8)]})
    return root


def make_mirror(root: Path, splits: dict[str, list[dict[str, Any]]]) -> Path:
    folder = root / "toy" / "choice" / "default"
    folder.mkdir(parents=True)
    for name, items in splits.items():
        with gzip.open(folder / f"{name}.jsonl.gz", "wt", encoding="utf-8") as handle:
            handle.writelines(json.dumps(entry) + "\n" for entry in items)
    return root


@pytest.fixture
def write_mirror() -> MirrorWriter:
    """Write splits of the toy data set below a folder, and return it."""
    return make_mirror


@pytest.fixture
def run(world: Path, tmp_path: Path) -> Callable[..., EvaluationReport]:
    from forecast.api.evaluate import evaluate
    from forecast.core.records import CheckpointRequest

    def run_evaluation(folders: list[Path] | Path, tasks: list[str], **options: Any) -> EvaluationReport:
        sources = folders if isinstance(folders, list) else [folders]
        settings: dict[str, Any] = {
            "db": tmp_path / "results.duckdb",
            "include_path": world / "tasks",
            "data_dir": world / "data",
            "device": "cpu",
            **options,
        }
        return evaluate([CheckpointRequest(source=str(folder)) for folder in sources], tasks=tasks, **settings)

    return run_evaluation
