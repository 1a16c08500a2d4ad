"""Writes a world of puzzles to disk in the shapes everything else reads: text, tokenizer folder, lm-eval tasks, family card."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from forecast.core.errors import UsageError
from forecast.core.whole_files import replacing
from forecast.training.architecture import padded_vocabulary
from forecast.training.emergence_world import (
    ALPHABET,
    CONTEXT_LENGTH,
    STOP,
    Bytes,
    EmergenceWorld,
    Skill,
    ask_items,
    draw_rows,
)

END_TOKEN = "<|endoftext|>"
_UNKNOWN_TOKEN = "<|unknown|>"
LAYERS = 2
TOKENS_PER_PARAMETER = 36
SMALLEST, LARGEST = 8, 128
"""Hidden sizes that a family of this world may have."""
_VALIDATION_ROWS = 1024


@dataclass(frozen=True, kw_only=True)
class EmergenceFiles:
    """Where a world's inputs lie."""

    card: Path
    corpus: Path
    validation: Path
    tokenizer: Path
    tasks: Path
    """Folder with one lm-eval YAML and its items per skill."""


def emergence_paths(folder: Path, family: str) -> EmergenceFiles:
    """Return where the inputs of a world in `folder` lie."""
    world = folder / "world"
    return EmergenceFiles(
        card=world / f"{family}.yaml",
        corpus=world / "corpus.txt",
        validation=world / "validation.txt",
        tokenizer=world / "tokenizer",
        tasks=world / "tasks",
    )


def write_emergence_world(
    world: EmergenceWorld, folder: Path, *, family: str, sizes: Sequence[int], items: int
) -> EmergenceFiles:
    """Write card, corpus, validation text, tokenizer and tasks; what is there is replaced.

    Raises:
        UsageError: a size that attention heads cannot share, or of no use here.
    """
    files = emergence_paths(folder, family)
    card = family_card(family, sizes)
    files.tasks.mkdir(parents=True, exist_ok=True)
    _write(files.card, yaml.safe_dump(card, sort_keys=False))
    rows = max(tokens_of(size) for size in sizes) // CONTEXT_LENGTH + 1
    _write(files.corpus, _as_documents(draw_rows(world, rows, seed=0)))
    _write(files.validation, _as_documents(draw_rows(world, _VALIDATION_ROWS, seed=1)))
    _write_tokenizer(files.tokenizer)
    for skill in world.skills:
        _write_task(world, skill, files.tasks, items)
    return files


def task_name(skill: Skill) -> str:
    """The lm-eval task that asks a skill."""
    return f"emergence_{skill.name}"


def member_name(size: int) -> str:
    """The family's member of a hidden size."""
    return f"emergence-d{size}"


def parameters_of(size: int) -> int:
    """Parameters of a member: two Llama layers, embedding and output matrix of the padded vocabulary.

    >>> parameters_of(32)
    28768
    """
    vocabulary = padded_vocabulary(len(ALPHABET) + 2)
    return LAYERS * (4 * size * size + 3 * size * _inner(size) + 2 * size) + size + 2 * vocabulary * size


def tokens_of(size: int) -> int:
    """Training tokens of a member: so many for each of its parameters, in whole steps."""
    step = _batch_rows(size) * CONTEXT_LENGTH
    return max(1, round(TOKENS_PER_PARAMETER * parameters_of(size) / step)) * step


def family_card(family: str, sizes: Sequence[int]) -> dict[str, object]:
    """Return the family card that `forecast train` reads: members of these hidden sizes, the smallest first.

    Raises:
        UsageError: a size that attention heads cannot share, or of no use here.
    """
    wrong = [size for size in sizes if size % 4 or not SMALLEST <= size <= LARGEST]
    if wrong or len(set(sizes)) < len(sizes) or not sizes:
        found = f"{wrong[0]}" if wrong else ", ".join(map(str, sizes)) or "none"
        raise UsageError(f"sizes: {found}", expected=f"different multiples of 4 from {SMALLEST} to {LARGEST}")
    members = [
        {
            "name": member_name(size),
            "hidden_size": size,
            "layers": LAYERS,
            "heads": 4 if size % 8 == 0 else 2,
            "intermediate_size": _inner(size),
            "tokens": tokens_of(size),
            "batch_tokens": _batch_rows(size) * CONTEXT_LENGTH,
            "learning_rate": round(0.05 / math.sqrt(size), 6),
        }
        for size in sorted(sizes)
    ]
    training = {
        "architecture": "llama",
        "context_length": CONTEXT_LENGTH,
        "initializer_range": 0.05,
        "schedule": {"kind": "cosine", "warmup": 0.05, "floor": 0.02},
        "weight_decay": 0.01,
        "beta2": 0.98,
        "precision": "float32",
        "compile": "never",
        "checkpoints": 1,
        "members": members,
    }
    return {
        "family": family,
        "title": "Emergence ladder",
        "description": "Tiny Llama models trained in minutes on puzzles of which some are learnt suddenly.",
        # The vocabulary is small and its output matrix is really multiplied: N counts everything.
        "flops_convention": "6nd-total",
        "training": training,
    }


def _inner(size: int) -> int:
    return size * 8 // 3


def _batch_rows(size: int) -> int:
    """Rows of a step: more for larger members, in eights."""
    return max(16, round(size * 0.85 / 8) * 8)


def _as_documents(rows: Bytes) -> str:
    """One document a row."""
    return f"\n{END_TOKEN}\n".join(row.tobytes().decode() for row in rows) + "\n"


def _write(path: Path, text: str) -> None:
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _write_tokenizer(folder: Path) -> None:
    """One token per character, as a folder that AutoTokenizer loads."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens = (END_TOKEN, _UNKNOWN_TOKEN, *ALPHABET)
    tokenizer = Tokenizer(models.WordLevel({token: index for index, token in enumerate(tokens)}, unk_token=_UNKNOWN_TOKEN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_TOKEN,
        bos_token=END_TOKEN,
        pad_token=END_TOKEN,
        unk_token=_UNKNOWN_TOKEN,
        clean_up_tokenization_spaces=False,
    )
    fast.save_pretrained(str(folder))


def _write_task(world: EmergenceWorld, skill: Skill, folder: Path, items: int) -> None:
    """An ordinary lm-eval generation task over a local JSON-lines file: exact match of what is written up to the stop."""
    asked = ask_items(world, skill, count=items)
    data = folder / f"{skill.name}.jsonl"
    pairs = zip(asked.prompts, asked.answers, strict=True)
    _write(data, "".join(json.dumps({"question": prompt, "answer": answer}) + "\n" for prompt, answer in pairs))
    task = {
        "task": task_name(skill),
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data.resolve())}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{answer}}",
        "target_delimiter": "",
        "num_fewshot": 0,
        "generation_kwargs": {"until": [STOP], "max_gen_toks": CONTEXT_LENGTH, "do_sample": False},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1.0},
    }
    _write(folder / f"{task_name(skill)}.yaml", yaml.safe_dump(task, sort_keys=False))
