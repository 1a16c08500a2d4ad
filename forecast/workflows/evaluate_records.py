"""Turns what was asked for and what was found into the records that the store keeps."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import pyarrow

from forecast.core.checkpoint_note import CheckpointNote, read_note
from forecast.core.hashing import content_hash
from forecast.core.records import (
    CheckpointRecord,
    CheckpointRequest,
    RunCounters,
    RunRecord,
    RunStatus,
    ScoredShard,
    TaskRecord,
)
from forecast.core.units import FlopsConvention, training_flops
from forecast.scoring.engine import SCORING_VERSION
from forecast.scoring.flops import matmul_rate
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

    def query(self, sql: str) -> Iterator[pyarrow.RecordBatch]:
        """Answer a read-only question."""

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

    @property
    def dtype_label(self) -> str:
        """The data type under which results are kept: a quantised variant is a member of its own."""
        return self.quantization.label(self.dtype) if self.quantization else self.dtype


@dataclass(frozen=True, kw_only=True)
class CheckpointFacts:
    """What a checkpoint's files say of themselves; None where they do not."""

    checkpoint_id: str
    tokenizer_hash: str = ""
    architecture: str = ""
    params: int | None = None
    params_non_embedding: int | None = None


def describe_checkpoint(request: CheckpointRequest, folder: Path | None, facts: CheckpointFacts) -> CheckpointRecord:
    """Merge what is known of a checkpoint: the request (flags, card), then the folder's note, then the files themselves."""
    note = (read_note(folder) if folder is not None else None) or CheckpointNote(family="", model="")
    params = _first(request.params, note.params, facts.params)
    tokens = _first(request.tokens, note.tokens)
    flops, convention = request.flops, request.flops_convention
    if flops is None and request.tokens is None and request.params is None:
        flops, convention = note.flops, note.flops_convention
    if flops is None and params and tokens is not None:
        flops, convention = training_flops(params, tokens), FlopsConvention.SIX_ND_TOTAL.value
    if flops is not None and convention is None:
        convention = FlopsConvention.PUBLISHED.value
    is_folder = Path(request.source).is_dir()
    return CheckpointRecord(
        checkpoint_id=facts.checkpoint_id,
        family=request.family or note.family or _default_family(request.source, is_folder),
        model=request.model or note.model or Path(request.source).name,
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


def make_run(checkpoint: CheckpointRecord, task: TaskRecord, settings: ScoringSettings) -> RunRecord:
    """Return the run's record; equal definitions give equal ids."""
    import os

    identity = [checkpoint.checkpoint_id, task.task_id, settings.dtype_label, settings.backend, settings.scoring_version]
    return RunRecord(
        run_id=content_hash([*identity, "deterministic"] if settings.deterministic else identity),
        checkpoint_id=checkpoint.checkpoint_id,
        task_id=task.task_id,
        dtype=settings.dtype_label,
        device=settings.device,
        backend=settings.backend.partition(",")[0],
        scoring_version=settings.scoring_version,
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        metadata={
            "deterministic": settings.deterministic,
            "token_budget": settings.token_budget,
            "cpus": os.cpu_count(),
            "matmul_flops_per_second": matmul_rate(settings.device, settings.dtype) if settings.backend == "native" else None,
            "machine": platform.machine(),
            **{f"{name}_version": version(name) for name in ("torch", "transformers", "lm_eval")},
            **({"quantization_version": settings.quantization.library_version} if settings.quantization else {}),
        },
    )
