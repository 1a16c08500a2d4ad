"""Writes the demo's world to disk in the shapes everything else reads: text, tokenizer folder, lm-eval task."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import yaml

from forecast.training.world import World, ask, tell, vocabulary

TASK_NAME = "demo_world"
ITEMS = 800
_VALIDATION_TOKENS = 20_000
_SENTENCES_PER_DOCUMENT = 1000
DOCUMENT_END = "<|endoftext|>"


@dataclass(frozen=True, kw_only=True)
class DemoFiles:
    """Where the demo's inputs lie."""

    corpus: Path
    validation: Path
    tokenizer: Path
    tasks: Path
    """Folder with the lm-eval YAML and its items."""


def demo_paths(folder: Path) -> DemoFiles:
    """Return where the inputs of a demo in `folder` lie."""
    world = folder / "world"
    return DemoFiles(
        corpus=world / "corpus.txt",
        validation=world / "validation.txt",
        tokenizer=world / "tokenizer",
        tasks=world / "tasks",
    )


def write_world(world: World, folder: Path, *, tokens: int, items: int = ITEMS) -> DemoFiles:
    """Write corpus (of at least `tokens` tokens), validation text, tokenizer and benchmark; what is there is replaced."""
    files = demo_paths(folder)
    files.tasks.mkdir(parents=True, exist_ok=True)
    _write_text(files.corpus, _documents(world, tokens, seed=0))
    _write_text(files.validation, _documents(world, _VALIDATION_TOKENS, seed=1))
    _write_tokenizer(world, files.tokenizer)
    _write_task(world, files.tasks, items)
    return files


def _documents(world: World, tokens: int, *, seed: int) -> str:
    """Sentences until there are enough words, parted into documents."""
    parts: list[str] = []
    words = 0
    for count, sentence in enumerate(tell(world, seed=seed), start=1):
        parts.append(sentence)
        words += sentence.count(" ") + 1
        if words >= tokens:
            break
        if count % _SENTENCES_PER_DOCUMENT == 0:
            parts.append(f"\n{DOCUMENT_END}\n")
    return " ".join(parts).replace(" \n", "\n").replace("\n ", "\n") + "\n"


def _write_text(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _write_tokenizer(world: World, folder: Path) -> None:
    """One token per word, as a folder that AutoTokenizer loads."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = (DOCUMENT_END, "<|unknown|>", *vocabulary(world))
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<|unknown|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=DOCUMENT_END,
        bos_token=DOCUMENT_END,
        pad_token=DOCUMENT_END,
        unk_token="<|unknown|>",
        clean_up_tokenization_spaces=False,
    )
    fast.save_pretrained(str(folder))


def _write_task(world: World, folder: Path, items: int) -> None:
    """An ordinary lm-eval multiple-choice task over a local JSON-lines file."""
    data = folder / "items.jsonl"
    lines = (
        json.dumps({"question": entry.question, "choices": list(entry.choices), "gold": entry.gold})
        for entry in ask(world, count=items)
    )
    _write_text(data, "\n".join(lines) + "\n")
    task = {
        "task": TASK_NAME,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data.resolve())}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{gold}}",
        "target_delimiter": " ",
        "num_fewshot": 0,
        "metric_list": [
            {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
            {"metric": "acc_norm", "aggregation": "mean", "higher_is_better": True},
        ],
        "metadata": {"version": 1.0},
    }
    _write_text(folder / f"{TASK_NAME}.yaml", yaml.safe_dump(task, sort_keys=False))
