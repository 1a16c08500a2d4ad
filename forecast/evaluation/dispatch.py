"""Scores what is missing of one checkpoint: the part of an evaluation that imports torch, transformers and lm-eval."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from forecast.core.progress import Progress
from forecast.core.records import Metadata
from forecast.evaluation.accumulation import score_units
from forecast.evaluation.records import OpenedRun, ResultStore, ScoringSettings
from forecast.evaluation.scorers.scorer import ScorerSource, Subject


def choose_source(settings: ScoringSettings, progress: Progress) -> ScorerSource:
    """Return what opens checkpoints for a backend; only that one's libraries are imported.

    Raises:
        UsageError: no such backend.
    """
    if settings.backend == "native":
        from forecast.scoring.light_losses import load_losses

        load_losses()
        from forecast.evaluation.scorers.native import NativeSource

        return NativeSource(settings, progress)
    from forecast.evaluation.scorers.lm_eval import LmEvalSource
    from forecast.scoring.lm_eval_backend import parse_backend

    return LmEvalSource(parse_backend(settings.backend), settings)


class CheckpointScorer:
    """One evaluation's way of scoring."""

    def __init__(self, settings: ScoringSettings, store: ResultStore, progress: Progress) -> None:
        """Nothing is opened yet.

        Raises:
            UsageError: no such backend.
        """
        self._settings = settings
        self._store = store
        self._progress = progress
        self._source = choose_source(settings, progress)

    def is_masked(self, folder: Path, *, trusted: bool) -> bool:
        """Whether a folder's model would be scored as a masked one."""
        return self._source.is_masked(folder, trusted=trusted)

    def read_ahead(self, files: Sequence[Path]) -> None:
        """Bring the next checkpoint's weights into the system's file cache."""
        self._source.read_ahead(files)

    def machine(self) -> Metadata:
        """Where and with what a run is scored."""
        settings = self._settings
        return {
            "deterministic": settings.deterministic,
            "token_budget": settings.token_budget,
            "cpus": os.cpu_count(),
            "matmul_flops_per_second": self._source.product_rate(),
            "machine": platform.machine(),
            **{f"{name}_version": version(name) for name in ("torch", "transformers", "lm_eval")},
            **({"quantization_version": settings.quantization.library_version} if settings.quantization else {}),
            **({"allow_unused_weights": True} if settings.allow_unused else {}),
        }

    def score(self, units: Sequence[Sequence[OpenedRun]], subject: Subject, *, on_stage: Callable[[str], None]) -> None:
        """Score the missing items of each unit of runs; what is finished is kept whatever happens.

        Raises:
            ForecastError: the checkpoint cannot be loaded or scored.
        """
        on_stage("loading its weights")
        scorer = self._source.open(subject)
        on_stage("computing its forward pass")
        score_units(scorer, units, self._store, self._progress, name=subject.name, sampling=self._settings.sampling)
