"""Scores what is missing of one checkpoint: the part of an evaluation that imports torch, transformers and lm-eval."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from forecast.core.errors import UsageError
from forecast.core.progress import Progress
from forecast.core.records import Metadata
from forecast.evaluation.records import CheckpointFacts, OpenedRun, ResultStore, ScoringSettings
from forecast.evaluation.scorers.causal import PlanCache, score_checkpoint
from forecast.evaluation.scorers.lm_eval import score_through_backend
from forecast.evaluation.scorers.masked import score_masked_checkpoint
from forecast.scoring.checkpoint_loading import holds_masked_model
from forecast.scoring.checkpoint_sweep import CheckpointSweep
from forecast.scoring.flops import matmul_rate
from forecast.scoring.lm_eval_backend import open_backend, parse_backend

_NAMED_TENSORS = 3


class CheckpointScorer:
    """One evaluation's way of scoring; what checkpoints share (plan, module) is kept between them."""

    def __init__(self, settings: ScoringSettings, store: ResultStore, progress: Progress) -> None:
        """Nothing is opened yet.

        Raises:
            UsageError: no such backend.
        """
        self._settings = settings
        self._store = store
        self._progress = progress
        self._backend = parse_backend(settings.backend)
        self._plans = PlanCache()
        self._sweep = CheckpointSweep(
            dtype=settings.dtype,
            device=settings.device,
            device_map=settings.device_map,
            quantization=settings.quantization,
            allow_unused=settings.allow_unused,
        )

    def is_masked(self, folder: Path, *, trusted: bool) -> bool:
        """Whether the native engine would score a folder's model as a masked one."""
        return self._backend is None and holds_masked_model(folder, trust_remote_code=trusted)

    def read_ahead(self, files: list[Path]) -> None:
        """Bring the next checkpoint's weights into the system's file cache."""
        self._sweep.read_ahead(files)

    def machine(self) -> Metadata:
        """Where and with what a run is scored."""
        settings = self._settings
        return {
            "deterministic": settings.deterministic,
            "token_budget": settings.token_budget,
            "cpus": os.cpu_count(),
            "matmul_flops_per_second": matmul_rate(settings.device, settings.dtype) if self._backend is None else None,
            "machine": platform.machine(),
            **{f"{name}_version": version(name) for name in ("torch", "transformers", "lm_eval")},
            **({"quantization_version": settings.quantization.library_version} if settings.quantization else {}),
            **({"allow_unused_weights": True} if settings.allow_unused else {}),
        }

    def score(
        self,
        units: Sequence[Sequence[OpenedRun]],
        folder: Path | None,
        facts: CheckpointFacts,
        settings: ScoringSettings,
        *,
        name: str,
        trusted: bool,
        on_stage: Callable[[str], None],
    ) -> None:
        """Score the missing items of each unit of runs; what is finished is kept whatever happens.

        Raises:
            ForecastError: the checkpoint cannot be loaded or scored.
        """
        on_stage("loading its weights")
        if self._backend is not None:
            backend = open_backend(self._backend, folder=folder, dtype=settings.dtype, device=settings.device)
            missing = [entry for unit in units for entry in unit if entry.is_missing]
            score_through_backend(backend, missing, self._store, self._progress, name=name)
            return
        if folder is None:
            raise UsageError("a checkpoint without files", expected="`backend=` lm-eval:NAME,ARGS beside it")
        loaded = self._sweep.open(folder, trust_remote_code=trusted)
        if loaded.unused:
            shown = ", ".join(loaded.unused[:_NAMED_TENSORS]) + (", ..." if len(loaded.unused) > _NAMED_TENSORS else "")
            self._progress.notice(f"{name}: {len(loaded.unused)} tensors of the files are left out, as allowed ({shown})")
        on_stage("computing its forward pass")
        for unit in units:
            if loaded.masked:
                score_masked_checkpoint(loaded, unit, settings, self._store, self._progress, name=name)
            else:
                score_checkpoint(
                    loaded, unit, self._plans, facts.tokenizer_hash, settings, self._store, self._progress, name=name
                )
