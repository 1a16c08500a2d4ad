"""Turns what was asked for and what was found into the records that the store keeps. Imports nothing that loads a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from forecast.core.checkpoint_note import CheckpointNote, read_note
from forecast.core.hashing import content_hash
from forecast.core.records import (
    CheckpointRecord,
    CheckpointRequest,
    Metadata,
    RunCounters,
    RunRecord,
    RunStatus,
    ScoredShard,
    TaskRecord,
)
from forecast.core.units import FlopsConvention, checkpoint_flops
from forecast.scoring.decoding import SamplingSettings
from forecast.scoring.requests import RenderedTask
from forecast.scoring.versions import GENERATION_VERSION, MASKED_BACKEND, MASKED_SCORING_VERSION, SCORING_VERSION

if TYPE_CHECKING:
    from forecast.scoring.quantization import Quantization


class ResultStore(Protocol):
    """The part of the store that an evaluation needs."""

    def open_run(self, run: RunRecord, checkpoint: CheckpointRecord, task: TaskRecord) -> frozenset[int]:
        """Register a run; return the items that are already stored."""

    def append(self, shard: ScoredShard) -> None:
        """Keep some items' results; durable when it returns."""

    def close_run(self, run_id: str, status: RunStatus, counters: RunCounters | None, error: str = "") -> None:
        """Record how a run ended."""

    def commit(self) -> int:
        """Move what is spooled into the file."""

    def lookup(self, sql: str) -> list[dict[str, Any]]:
        """Answer a question about records, into which no metric enters.

        Raises:
            StoreError: there is no results file, or it is damaged.
        """

    def score_rows(self, run_ids: Sequence[str] | None = None) -> list[dict[str, object]]:
        """Return rows of the view `scores`."""


@dataclass(frozen=True, kw_only=True)
class ScoringSettings:
    """How to score; `dtype` and `device` are settled (no `auto`)."""

    dtype: str
    device: str
    token_budget: int | None = None
    """Positions per forward pass; None chooses by model."""
    deterministic: bool = False
    device_map: str | None = None
    backend: str = "native"
    scoring_version: str = SCORING_VERSION
    quantization: Quantization | None = None
    allow_unused: bool = False
    """Tensors that the model does not take are left out instead of refused."""
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    """What is asked of generated answers beside their tasks' own settings."""
    gold_only: bool = False
    """Measure the likelihood of generated tasks' gold answers and write none."""

    @property
    def dtype_label(self) -> str:
        """The data type under which results are kept: a quantised variant is a member of its own."""
        return self.quantization.label(self.dtype) if self.quantization else self.dtype


def masked_settings(settings: ScoringSettings) -> ScoringSettings:
    """The settings under which a masked model's runs are kept, apart from all autoregressive ones; it writes no answers."""
    return replace(settings, backend=MASKED_BACKEND, scoring_version=MASKED_SCORING_VERSION, gold_only=True)


@dataclass(frozen=True, kw_only=True)
class CheckpointFacts:
    """What a checkpoint's files say of themselves; None where they do not."""

    checkpoint_id: str
    tokenizer_hash: str = ""
    architecture: str = ""
    params: int | None = None
    params_non_embedding: int | None = None


@dataclass(frozen=True, kw_only=True)
class CheckpointName:
    """Under which family and model a checkpoint's rows stand in the store."""

    family: str
    model: str

    def __str__(self) -> str:
        return f"'{self.model}' of family '{self.family}'"


@dataclass(frozen=True, kw_only=True)
class OpenedRun:
    """A registered run, its task, and the items that the store already has."""

    run: RunRecord
    task: RenderedTask
    done: frozenset[int]
    writes_answers: bool = False
    """Whether answers are generated beside the gold answers' likelihood."""

    @property
    def is_missing(self) -> bool:
        """Whether items are still to be scored."""
        return len(self.done) < len(self.task.record.items)


def describe_checkpoint(
    request: CheckpointRequest, folder: Path | None, facts: CheckpointFacts, known: CheckpointName | None = None
) -> CheckpointRecord:
    """Merge what is known of a checkpoint: the request (flags, card), then the folder's note, then the files themselves.

    `known` is the name under which the store has it already: a folder's own name, which says nothing of the model, never
    replaces that one.
    """
    note = (read_note(folder) if folder is not None else None) or CheckpointNote(family="", model="")
    params = _first(request.params, note.params, facts.params)
    tokens = _first(request.tokens, note.tokens)
    flops, convention = request.flops, request.flops_convention
    if flops is None and request.tokens is None and request.params is None:
        flops, convention = note.flops, note.flops_convention
    if flops is None:
        flops, counted = checkpoint_flops(params=params, tokens=tokens)
        convention = counted or convention
    if flops is not None and convention is None:
        convention = FlopsConvention.PUBLISHED.value
    is_folder = Path(request.source).is_dir()
    default = known or CheckpointName(family=_default_family(request.source, is_folder), model=_default_model(request.source))
    return CheckpointRecord(
        checkpoint_id=facts.checkpoint_id,
        family=request.family or note.family or default.family,
        model=request.model or note.model or default.model,
        revision=request.revision,
        revision_sha=str(request.metadata.get("revision_sha") or ""),
        source=str(Path(request.source).resolve()) if is_folder else request.source,
        step=_first(request.step, note.step),
        params=params,
        params_non_embedding=_first(request.params_non_embedding, note.params_non_embedding, facts.params_non_embedding),
        tokens=tokens,
        flops=flops,
        flops_convention=convention,
        architecture=facts.architecture,
        tokenizer_hash=facts.tokenizer_hash,
        is_final=request.is_final and note.is_final,
        metadata={
            **note.metadata,
            **({"validation_loss": note.validation_loss} if note.validation_loss is not None else {}),
            **request.metadata,
        },
    )


def _first(*candidates: int | None) -> int | None:
    return next((value for value in candidates if value is not None), None)


def _default_family(source: str, is_folder: bool) -> str:
    """Folders that lie together are one family; a hub model stands alone until a card or flag says otherwise."""
    return Path(source).resolve().parent.name if is_folder else source.split("/")[-1]


def _default_model(source: str) -> str:
    # A folder named `.` or `..` has its name where it lies.
    return Path(source).resolve().name if source.rstrip("/").endswith(".") else Path(source).name


def writes_answers(task: RenderedTask, settings: ScoringSettings) -> bool:
    """Whether answers to a task are generated."""
    return len(task.generations) > 0 and not settings.gold_only


def run_id_of(checkpoint_id: str, task_id: str, settings: ScoringSettings, *, answers: bool = False) -> str:
    """The id under which a checkpoint's scores on a task are kept; equal definitions give equal ids.

    With `answers` it stands for generated answers too, drawn as the settings say.
    """
    identity: list[object] = [checkpoint_id, task_id, settings.dtype_label, settings.backend, settings.scoring_version]
    if settings.deterministic:
        identity.append("deterministic")
    if answers:
        identity += ["answers", GENERATION_VERSION, settings.sampling.identity]
    return content_hash(identity)


def make_run(
    checkpoint_id: str, task_id: str, settings: ScoringSettings, metadata: Metadata, *, answers: bool = False
) -> RunRecord:
    """Return a run's record; `metadata` says on which machine and beside which other tasks it was begun."""
    return RunRecord(
        run_id=run_id_of(checkpoint_id, task_id, settings, answers=answers),
        checkpoint_id=checkpoint_id,
        task_id=task_id,
        dtype=settings.dtype_label,
        device=settings.device,
        backend=settings.backend.partition(",")[0],
        scoring_version=settings.scoring_version,
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        metadata={**metadata, "answers": json.dumps(settings.sampling.identity)} if answers else metadata,
    )
