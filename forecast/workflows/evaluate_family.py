"""Evaluates one checkpoint after the other; what they share (plan, module, files read ahead) is kept between them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from forecast.core.errors import CheckpointError, ForecastError, UsageError
from forecast.core.hashing import content_hash
from forecast.core.progress import Progress
from forecast.core.records import CheckpointRequest, RunStatus
from forecast.hub import Fetcher
from forecast.hub.weight_headers import count_parameters
from forecast.scoring.checkpoint_files import checkpoint_identity, read_config, tokenizer_identity
from forecast.scoring.checkpoint_loading import holds_masked_model
from forecast.scoring.checkpoint_sweep import CheckpointSweep
from forecast.scoring.lm_eval_backend import open_backend, parse_backend
from forecast.scoring.requests import RenderedTask
from forecast.workflows.evaluate_checkpoint import OpenedRun, PlanCache, score_checkpoint
from forecast.workflows.evaluate_masked import masked_settings, score_masked_checkpoint
from forecast.workflows.evaluate_records import (
    CheckpointFacts,
    ResultStore,
    ScoringSettings,
    describe_checkpoint,
    make_run,
)
from forecast.workflows.evaluate_resume import FinishedRuns
from forecast.workflows.evaluate_through import score_through_backend
from forecast.workflows.model_names import BACKEND_SOURCE, check_path
from forecast.workflows.sibling_check import SiblingCheck


class FamilySweep:
    """One evaluation's checkpoints, in their order."""

    def __init__(
        self,
        requests: Sequence[CheckpointRequest],
        rendered: Sequence[RenderedTask],
        settings: ScoringSettings,
        store: ResultStore,
        fetcher: Fetcher,
        progress: Progress,
    ) -> None:
        """Nothing is opened or fetched yet."""
        self._requests = list(requests)
        self._rendered = rendered
        self._settings = settings
        self._store = store
        self._fetcher = fetcher
        self._progress = progress
        self._backend = parse_backend(settings.backend)
        self._plans = PlanCache()
        self._sweep = CheckpointSweep(
            dtype=settings.dtype,
            device=settings.device,
            device_map=settings.device_map,
            quantization=settings.quantization,
        )
        self._check = SiblingCheck(progress=progress)
        self._finished = FinishedRuns(store=store, rendered=rendered, settings=settings)
        fetcher.plan(requests, skip=lambda request: bool(self._finished.find(request)))

    def evaluate(self, asked: CheckpointRequest) -> list[str]:
        """Score what is not stored yet of one checkpoint on all tasks; returns its runs.

        Raises:
            ForecastError: the checkpoint cannot be fetched, loaded or scored.
        """
        if asked.source.startswith(BACKEND_SOURCE):
            facts = CheckpointFacts(checkpoint_id=content_hash([asked.source]))
            return self._evaluate(asked, None, facts, self._settings)
        check_path(asked.source)
        request = self._fetcher.resolve(asked)
        finished = self._finished.find(request)
        if finished:
            return finished
        folder = self._fetcher.fetch(request)
        config = read_config(folder)
        self._check(request, folder)
        self._read_ahead(asked)
        counted = count_parameters(folder)
        facts = CheckpointFacts(
            checkpoint_id=checkpoint_identity(folder, str(request.metadata.get("revision_sha") or ""), request.source),
            tokenizer_hash=tokenizer_identity(folder),
            architecture=str(config.get("model_type", "")),
            params=counted.total if counted else None,
            params_non_embedding=counted.non_embedding if counted else None,
        )
        masked = self._backend is None and holds_masked_model(folder, trust_remote_code=self._fetcher.trusts(request))
        return self._evaluate(request, folder, facts, masked_settings(self._settings) if masked else self._settings)

    def _evaluate(
        self, request: CheckpointRequest, folder: Path | None, facts: CheckpointFacts, settings: ScoringSettings
    ) -> list[str]:
        checkpoint = describe_checkpoint(request, folder, facts)
        opened: list[OpenedRun] = []
        for task in self._rendered:
            run = make_run(checkpoint, task.record, settings)
            opened.append((run, task, self._store.open_run(run, checkpoint, task.record)))
        missing = [entry for entry in opened if len(entry[2]) < len(entry[1].record.items)]
        for run, _, _ in opened:
            if all(run is not entry[0] for entry in missing):
                self._store.close_run(run.run_id, RunStatus.COMPLETE, None)
        name = f"{checkpoint.model} {checkpoint.revision}".strip()
        try:
            if missing:
                try:
                    self._score(missing, folder, facts, settings, name, trusted=self._fetcher.trusts(request))
                except (RuntimeError, IndexError) as error:
                    raise CheckpointError(
                        f"the forward pass of {name} failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}",
                        expected=f"a '{facts.architecture}' that runs in {settings.dtype_label} on {settings.device}",
                        remedy="check config.json, or try --dtype float32",
                    ) from error
        except ForecastError as error:
            for run, _, _ in missing:
                self._store.close_run(run.run_id, RunStatus.FAILED, None, str(error))
            raise
        return [run.run_id for run, _, _ in opened]

    def _score(
        self,
        missing: Sequence[OpenedRun],
        folder: Path | None,
        facts: CheckpointFacts,
        settings: ScoringSettings,
        name: str,
        *,
        trusted: bool,
    ) -> None:
        if self._backend is not None:
            backend = open_backend(self._backend, folder=folder, dtype=settings.dtype, device=settings.device)
            score_through_backend(backend, missing, self._store, self._progress, name=name)
            return
        if folder is None:
            raise UsageError("a checkpoint without files", expected="--backend lm-eval:NAME,ARGS beside it")
        loaded = self._sweep.open(folder, trust_remote_code=trusted)
        if loaded.masked:
            score_masked_checkpoint(loaded, missing, settings, self._store, self._progress, name=name)
            return
        score_checkpoint(loaded, missing, self._plans, facts.tokenizer_hash, settings, self._store, self._progress, name=name)

    def _read_ahead(self, current: CheckpointRequest) -> None:
        position = next(i for i, request in enumerate(self._requests) if request is current) + 1
        if position < len(self._requests) and Path(self._requests[position].source).is_dir():
            self._sweep.read_ahead(Path(self._requests[position].source))
