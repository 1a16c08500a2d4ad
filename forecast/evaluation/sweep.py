"""Evaluates one checkpoint after the other. What is stored is found by identity; only what is missing loads a model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from forecast.core.errors import CheckpointError, ForecastError, UsageError
from forecast.core.failures import say_failure
from forecast.core.hashing import content_hash
from forecast.core.memory_reuse import loading
from forecast.core.progress import Progress
from forecast.core.records import CheckpointRecord, CheckpointRequest, RunRecord, RunStatus
from forecast.evaluation.executor import Job
from forecast.evaluation.identity import folder_checkpoint_id, stored_name
from forecast.evaluation.model_names import BACKEND_SOURCE, check_path
from forecast.evaluation.records import (
    CheckpointFacts,
    OpenedRun,
    ResultStore,
    ScoringSettings,
    describe_checkpoint,
    make_run,
    masked_settings,
    run_id_of,
    writes_answers,
)
from forecast.evaluation.resume import FinishedRuns
from forecast.evaluation.scorers.scorer import Subject
from forecast.evaluation.sibling_check import SiblingCheck
from forecast.evaluation.units import PLANNED_WITH, choose_plans, scoring_units, stored_plans
from forecast.hub import Fetcher
from forecast.hub.weight_headers import count_parameters
from forecast.scoring.checkpoint_files import hub_identity, read_config, tokenizer_identity, weight_files
from forecast.scoring.requests import RenderedTask

if TYPE_CHECKING:
    from forecast.evaluation.dispatch import CheckpointScorer


class FamilySweep:
    """One evaluation's checkpoints, in their order."""

    def __init__(
        self,
        jobs: Sequence[Job],
        settings: ScoringSettings,
        store: ResultStore,
        fetcher: Fetcher,
        progress: Progress,
    ) -> None:
        """Nothing is opened or fetched yet."""
        self._jobs = list(jobs)
        self._settings = settings
        self._store = store
        self._fetcher = fetcher
        self._progress = progress
        self._check = SiblingCheck(progress=progress)
        self._finished = FinishedRuns(store=store, settings=settings)
        self._stage = ""
        self._named: dict[str, str] = {}
        """Checkpoint id -> the source that it was first met under in this evaluation."""
        asked = {(job.checkpoint.source, job.checkpoint.revision): job for job in jobs}
        fetcher.plan(
            [job.checkpoint for job in jobs],
            skip=lambda request: bool(self._find_pinned(request, asked[request.source, request.revision])),
        )

    @cached_property
    def _scorer(self) -> CheckpointScorer:
        """Made when something is to be scored: importing what loads models takes seconds."""
        with loading():
            from forecast.evaluation.dispatch import CheckpointScorer

            return CheckpointScorer(self._settings, self._store, self._progress)

    def evaluate(self, job: Job) -> list[str]:
        """Score what is not stored yet of one checkpoint on its tasks; returns its runs.

        Raises:
            ForecastError: the checkpoint cannot be fetched, loaded or scored; whatever else was raised on the way is told as
                this checkpoint's failure.
        """
        try:
            run_ids = self._evaluate(job)
            self._stage = "storing its results"
            self._store.commit()
        except ForecastError:
            raise
        except Exception as error:
            name = job.checkpoint.model or job.checkpoint.source
            raise CheckpointError(
                f"{name} failed while {self._stage}: {say_failure(error)}",
                expected=f"a whole checkpoint that runs in {self._settings.dtype_label} on {self._settings.device}",
                remedy="check config.json and the files beside it, try `dtype=` float32, or leave it out",
            ) from error
        return run_ids

    def _evaluate(self, job: Job) -> list[str]:
        asked = job.checkpoint
        if asked.source.startswith(BACKEND_SOURCE):
            if job.chat is not None:
                raise UsageError(
                    "the chat template of a backend's own model is not known",
                    expected="`models=` beside `apply_chat_template=`: a checkpoint with its tokenizer",
                )
            self._stage = "asking its backend"
            facts = CheckpointFacts(checkpoint_id=content_hash([asked.source]))
            checkpoint = describe_checkpoint(asked, None, facts)
            return self._score_missing(checkpoint, job.tasks, self._settings, _subject_of(checkpoint, None, trusted=False))
        self._stage = "looking for its files"
        check_path(asked.source)
        request = self._fetcher.resolve(asked)
        finished = self._find_pinned(request, job)
        if finished:
            return finished
        folder = self._fetcher.fetch(request)
        self._stage = "reading its configuration and the headers of its weights"
        checkpoint = self._name(request, folder, self._read_facts(request, folder))
        trusted = self._fetcher.trusts(request)
        tasks = job.tasks
        if job.chat is not None:
            self._stage = "writing its tasks out by its chat template"
            tasks = [*job.chat.write_out(folder, trusted=trusted), *job.tasks]
        finished = self._finished.find(checkpoint.checkpoint_id, tasks)
        if finished:
            self._stage = "storing what is known of it"
            self._register(checkpoint, tasks[0], finished)
            return finished
        self._stage = "reading its configuration"
        masked = self._settings.backend == "native" and self._scorer.is_masked(folder, trusted=trusted)
        self._read_ahead(job)
        settings = masked_settings(self._settings) if masked else self._settings
        return self._score_missing(checkpoint, tasks, settings, _subject_of(checkpoint, folder, trusted=trusted))

    def _find_pinned(self, request: CheckpointRequest, job: Job) -> list[str]:
        """The runs of a finished hub checkpoint; its chat template, where one is asked for, is known only once it is here."""
        return [] if job.chat is not None else self._finished.find_pinned(request, job.tasks)

    def _read_facts(self, request: CheckpointRequest, folder: Path) -> CheckpointFacts:
        config = read_config(folder)
        counted = count_parameters(folder)
        self._check(request, folder, counted)
        commit = str(request.metadata.get("revision_sha") or "")
        return CheckpointFacts(
            checkpoint_id=hub_identity(request.source, commit) if commit else folder_checkpoint_id(self._store, folder),
            tokenizer_hash=tokenizer_identity(folder),
            architecture=str(config.get("model_type", "")),
            params=counted.total if counted else None,
            params_non_embedding=counted.non_embedding if counted else None,
        )

    def _name(self, request: CheckpointRequest, folder: Path, facts: CheckpointFacts) -> CheckpointRecord:
        """Describe the checkpoint; say where it is the same as another, or where its stored name changes."""
        known = stored_name(self._store, facts.checkpoint_id)
        checkpoint = describe_checkpoint(request, folder, facts, known)
        twin = self._named.setdefault(facts.checkpoint_id, request.source)
        if twin != request.source:
            self._progress.notice(
                f"{request.source} holds the weights and the tokenizer of {twin}: one checkpoint, stored and scored once"
            )
        if known is not None:
            plain = describe_checkpoint(request, folder, facts)
            if (checkpoint.family, checkpoint.model) != (known.family, known.model):
                self._progress.notice(
                    f"{request.source}: stored as {known} until now, and as '{checkpoint.model}' of family "
                    f"'{checkpoint.family}' from now on"
                )
            elif plain.model != known.model:
                self._progress.notice(f"{request.source}: these weights with this tokenizer are stored as {known}, and stay so")
        return checkpoint

    def _register(self, checkpoint: CheckpointRecord, first: RenderedTask, run_ids: Sequence[str]) -> None:
        """Let the store know what is new about a checkpoint whose scores it has."""
        task = first.record
        for settings in (self._settings, masked_settings(self._settings)):
            answers = writes_answers(first, settings)
            run = make_run(checkpoint.checkpoint_id, task.task_id, settings, {}, answers=answers)
            if run.run_id == run_ids[0]:
                self._store.open_run(run, checkpoint, task)
                return

    def _score_missing(
        self,
        checkpoint: CheckpointRecord,
        rendered: Sequence[RenderedTask],
        settings: ScoringSettings,
        subject: Subject,
    ) -> list[str]:
        self._stage = "storing its runs"
        tasks = {
            run_id_of(checkpoint.checkpoint_id, task.record.task_id, settings, answers=writes_answers(task, settings)): task
            for task in rendered
        }
        known = stored_plans(self._store, list(tasks))
        plans = choose_plans({run_id: task.record.task_id for run_id, task in tasks.items()}, known)
        opened: list[OpenedRun] = []
        for run_id, task in tasks.items():
            # What a run was begun with is stored once, with the run.
            metadata = {} if run_id in known else {**self._scorer.machine(), PLANNED_WITH: plans[run_id]}
            answers = writes_answers(task, settings)
            run = make_run(checkpoint.checkpoint_id, task.record.task_id, settings, metadata, answers=answers)
            done = self._store.open_run(run, checkpoint, task.record)
            opened.append(OpenedRun(run=run, task=task, done=done, writes_answers=answers))
        for entry in opened:
            if not entry.is_missing:
                self._store.close_run(entry.run.run_id, RunStatus.COMPLETE, None)
        units = scoring_units(opened, plans)
        try:
            if units:
                self._scorer.score(units, subject, on_stage=self._enter)
        except Exception as error:
            self._close_failed([entry.run for entry in opened if entry.is_missing], say_failure(error))
            raise
        return list(tasks)

    def _enter(self, stage: str) -> None:
        self._stage = stage

    def _close_failed(self, runs: Sequence[RunRecord], reason: str) -> None:
        try:
            for run in runs:
                self._store.close_run(run.run_id, RunStatus.FAILED, None, reason)
        except (ForecastError, OSError) as error:
            # What failed first is what is reported; a full disk fails again here.
            self._progress.notice(f"how a run ended could not be stored: {say_failure(error)}")

    def _read_ahead(self, current: Job) -> None:
        position = next(i for i, job in enumerate(self._jobs) if job is current) + 1
        if position == len(self._jobs):
            return
        try:
            files = weight_files(Path(self._jobs[position].checkpoint.source))
        except (ForecastError, OSError):
            return  # Its own turn will say what is wrong with it.
        self._scorer.read_ahead(files)


def _subject_of(checkpoint: CheckpointRecord, folder: Path | None, *, trusted: bool) -> Subject:
    name = f"{checkpoint.model} {checkpoint.revision}".strip()
    return Subject(name=name, folder=folder, tokenizer_hash=checkpoint.tokenizer_hash, trusted=trusted)
