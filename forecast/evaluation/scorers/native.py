"""Opens checkpoint folders for the engines of this package: causal and masked models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from forecast.core.errors import UsageError
from forecast.core.progress import Progress
from forecast.evaluation.records import ScoringSettings
from forecast.evaluation.scorers.causal import CausalScorer, PlanCache
from forecast.evaluation.scorers.masked import MaskedScorer
from forecast.evaluation.scorers.scorer import Scorer, Subject
from forecast.scoring.checkpoint_loading import holds_masked_model
from forecast.scoring.checkpoint_sweep import CheckpointSweep
from forecast.scoring.flops import matmul_rate

_NAMED_TENSORS = 3


class NativeSource:
    """Keeps the module and the plan from one checkpoint to the next of its family."""

    def __init__(self, settings: ScoringSettings, progress: Progress) -> None:
        """Nothing is opened yet."""
        self._settings = settings
        self._progress = progress
        self._plans = PlanCache()
        self._sweep = CheckpointSweep(
            dtype=settings.dtype,
            device=settings.device,
            device_map=settings.device_map,
            quantization=settings.quantization,
            allow_unused=settings.allow_unused,
        )

    def is_masked(self, folder: Path, *, trusted: bool) -> bool:
        """Whether a folder holds a masked model."""
        return holds_masked_model(folder, trust_remote_code=trusted)

    def read_ahead(self, files: Sequence[Path]) -> None:
        """Read weight files in the background."""
        self._sweep.read_ahead(list(files))

    def product_rate(self) -> float | None:
        """Measure it once."""
        return matmul_rate(self._settings.device, self._settings.dtype)

    def open(self, subject: Subject) -> Scorer:
        """Load a folder.

        Raises:
            UsageError: there is no folder.
            CheckpointError: it cannot be loaded.
        """
        if subject.folder is None:
            raise UsageError("a checkpoint without files", expected="`backend=` lm-eval:NAME,ARGS beside it")
        loaded = self._sweep.open(subject.folder, trust_remote_code=subject.trusted)
        if loaded.unused:
            shown = ", ".join(loaded.unused[:_NAMED_TENSORS]) + (", ..." if len(loaded.unused) > _NAMED_TENSORS else "")
            self._progress.notice(
                f"{subject.name}: {len(loaded.unused)} tensors of the files are left out, as allowed ({shown})"
            )
        if loaded.masked:
            return MaskedScorer(loaded, self._settings)
        return CausalScorer(loaded, self._settings, self._plans, subject.tokenizer_hash)
