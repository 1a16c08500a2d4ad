"""What was measured: the records that pass between layers. Frozen; every field has a unit; nothing derived is kept.

Identity is a content hash of what defines a thing, so equal things have equal keys on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from forecast.core.hashing import content_hash

Metadata = Mapping[str, str | int | float | bool | None]


class RunStatus(StrEnum):
    """How far the scoring of one checkpoint on one task has come."""

    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class CheckpointRecord:
    """One set of weights of one model, and what it cost to train.

    `checkpoint_id` is a hash of the weights' identity (content of the weight and config files, or hub id and commit SHA).
    """

    checkpoint_id: str
    family: str
    """Models trained by one recipe, e.g. `pythia`."""
    model: str
    """One training run within the family, e.g. `pythia-70m`; its checkpoints are autocorrelated."""
    revision: str = ""
    """Hub branch, tag or commit, as asked for; empty for a local folder."""
    revision_sha: str = ""
    """Hub commit that `revision` pointed to."""
    source: str = ""
    """Folder or hub id that the weights came from."""
    step: int | None = None
    """Optimiser steps taken."""
    params: int | None = None
    """All parameters, tied matrices once."""
    params_non_embedding: int | None = None
    """Parameters without token and position embeddings and without an untied output matrix."""
    tokens: int | None = None
    """Training tokens seen, repeats counted."""
    flops: float | None = None
    """Training FLOPs by `flops_convention`."""
    flops_convention: str | None = None
    """A `FlopsConvention` value."""
    architecture: str = ""
    """The config's model type, e.g. `gpt_neox`."""
    tokenizer_hash: str = ""
    """Content hash of the tokenizer."""
    is_final: bool = True
    """Last checkpoint of its run, learning rate decayed; False mid-schedule."""
    metadata: Metadata = field(default_factory=dict)
    """Anything else worth keeping: data hash, seed, learning-rate fraction."""


@dataclass(frozen=True, kw_only=True)
class ItemRecord:
    """One question as it was put to the model, few-shot examples included."""

    item_idx: int
    """Position in the task's split, from 0."""
    prompt: str
    """Rendered context; for tasks whose choices are contexts (WinoGrande) the shared continuation."""
    choices: tuple[str, ...]
    """Choice texts without the delimiter that joins them to the prompt."""
    gold: int
    """Index of the correct choice."""
    prompt_hash: str
    """Content hash of `prompt`."""
    n_chars: tuple[int, ...]
    """Characters of each choice, delimiter not counted (lm-eval's acc_norm)."""
    n_bytes: tuple[int, ...]
    """UTF-8 bytes of each choice, delimiter not counted."""
    group: str = ""
    """Part of the task that the item belongs to, e.g. an MMLU subject."""
    golds: tuple[int, ...] = ()
    """All correct choices where several are (`gold` is the first of them); empty when `gold` is the only one."""


def make_item(
    item_idx: int, prompt: str, choices: tuple[str, ...], scored: Sequence[str], golds: tuple[int, ...]
) -> ItemRecord:
    """Build an item and count the characters and UTF-8 bytes of what is scored, delimiters left out.

    `scored` are the texts whose loglikelihoods are asked for: the choices, or the continuation that they share. The
    first of `golds` is the item's gold.

    >>> make_item(0, "Q:", ("no", "né"), ("no", "né"), (1,)).n_bytes
    (2, 3)
    """
    return ItemRecord(
        item_idx=item_idx,
        prompt=prompt,
        choices=choices,
        gold=golds[0],
        golds=golds if len(golds) > 1 else (),
        prompt_hash=content_hash(prompt),
        n_chars=tuple(len(text) for text in scored),
        n_bytes=tuple(len(text.encode("utf-8", errors="surrogatepass")) for text in scored),
    )


@dataclass(frozen=True, kw_only=True)
class TaskRecord:
    """A benchmark as it was asked: definition, items, shots. `task_id` is a hash of all that defines the result."""

    task_id: str
    task: str
    """Name, e.g. `arc_challenge`."""
    num_fewshot: int
    fewshot_seed: int | None
    output_type: str
    """lm-eval's output type: multiple_choice, loglikelihood, loglikelihood_rolling or generate_until."""
    definition_hash: str
    """Hash of the task's configuration."""
    version: str = ""
    """The definition's own version."""
    limit: int | None = None
    """Items asked for when not all."""
    items: Sequence[ItemRecord] = ()
    metadata: Metadata = field(default_factory=dict)

    @property
    def label(self) -> str:
        """How messages name it: the same task with other examples is another."""
        return task_label(self.task, self.num_fewshot)


def task_label(task: str, num_fewshot: int) -> str:
    """Name a task and, where there are some, how many examples it is asked with.

    >>> task_label("piqa", 0), task_label("piqa", 5)
    ("task 'piqa'", "task 'piqa' with 5 shots")
    """
    return f"task '{task}'" + (f" with {num_fewshot} shot{'s' if num_fewshot != 1 else ''}" if num_fewshot else "")


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One scoring of one checkpoint on one task. `run_id` hashes checkpoint, task, dtype, backend and scoring version."""

    run_id: str
    checkpoint_id: str
    task_id: str
    dtype: str
    """Weights and activations during scoring: float32, bfloat16, ..."""
    device: str
    """cpu, cuda:NAME."""
    backend: str
    """`native` or `lm-eval:NAME`."""
    scoring_version: str
    """Changes whenever the same request could give another number."""
    started_at: str = ""
    """UTC, ISO 8601."""
    metadata: Metadata = field(default_factory=dict)
    """Versions, batch limits, threads, command line."""


@dataclass(frozen=True, kw_only=True)
class RunCounters:
    """What a scoring cost. Tokens are positions fed to the model; FLOPs are forward FLOPs."""

    tokens_requested: int
    """Context and continuation of every request, as a scorer without sharing would feed them."""
    tokens_unique: int
    """Distinct prefixes: the least that must be computed."""
    tokens_computed: int
    """Positions really computed, padding not counted."""
    tokens_padded: int
    """Padding positions computed."""
    tokens_truncated: int = 0
    """Context tokens cut on the left because a request was longer than the model's window."""
    seconds: float = 0.0
    """Wall time of scoring, loading not counted."""
    flops_done: float = 0.0
    flops_bound: float = 0.0
    """Least FLOPs: unique prefix tokens x 2 N, attention, and the head at scored positions."""


@dataclass(frozen=True, kw_only=True)
class GeneratedAnswer:
    """One answer that a model wrote to one item, and what the task's own filters and metrics made of it."""

    sample_idx: int
    """Number of the draw, from 0; a greedy answer is number 0."""
    text: str
    """As generated, up to the first until-string."""
    n_tokens: int
    """Generated tokens, those of the until-string included."""
    stopped: bool
    """Whether an until-string or the end-of-text token ended it; False when the token limit did."""
    extracted: Mapping[str, str] = field(default_factory=dict)
    """Filter -> what it made of the text; the task's first filter comes first."""
    values: Mapping[str, float] = field(default_factory=dict)
    """lm-eval's number for this answer by `metric,filter`, e.g. `exact_match,strict-match`."""
    correct: bool | None = None
    """Whether it is right by the task's own main metric; None where that is not a yes or no, or nothing was run."""


@dataclass(frozen=True, kw_only=True)
class ScoredShard:
    """Results of some items of one run, in matching order; one entry per item, one number per choice."""

    run_id: str
    item_idx: tuple[int, ...]
    loglikelihoods: tuple[tuple[float, ...], ...]
    """log p(choice | prompt) in nats."""
    n_tokens: tuple[tuple[int, ...], ...]
    """Tokens of each choice's continuation that were scored."""
    is_greedy: tuple[tuple[bool, ...], ...]
    """Whether every scored token was the most probable one."""
    gold_token_loglikelihoods: tuple[tuple[float, ...], ...] = ()
    """log p of each token of the gold answer, in nats and in order; empty where the backend does not say, or per item where
    the answer has one token."""
    generations: tuple[tuple[GeneratedAnswer, ...], ...] = ()
    """The answers to each item, by `sample_idx`; empty for tasks that are not generated."""


@dataclass(frozen=True, kw_only=True)
class CheckpointRequest:
    """A checkpoint that somebody wants scored, before anything was loaded: where it lies, and what is already known of it."""

    source: str
    """Local folder or hub id."""
    revision: str = ""
    """Hub branch, tag or commit; empty for a folder or the hub's default."""
    family: str = ""
    model: str = ""
    step: int | None = None
    params: int | None = None
    params_non_embedding: int | None = None
    tokens: int | None = None
    flops: float | None = None
    flops_convention: str | None = None
    is_final: bool = True
    metadata: Metadata = field(default_factory=dict)
