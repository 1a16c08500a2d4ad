"""Where an evaluation's jobs run. Today: one after the other, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from forecast.core.errors import ForecastError, UsageError
from forecast.core.progress import Progress
from forecast.core.records import CheckpointRequest
from forecast.evaluation.chat_tasks import ChatTasks
from forecast.evaluation.records import ResultStore
from forecast.scoring.requests import RenderedTask


@dataclass(frozen=True, kw_only=True)
class Job:
    """One checkpoint and the tasks that it answers."""

    checkpoint: CheckpointRequest
    tasks: Sequence[RenderedTask]
    chat: ChatTasks | None = None
    """Tasks that are written out by the checkpoint's own chat template, beside the others."""


@dataclass(frozen=True, kw_only=True)
class FinishedJob:
    """How a job ended."""

    job: Job
    run_ids: tuple[str, ...] = ()
    failure: ForecastError | None = None


class Executor(Protocol):
    """Runs jobs; results are in the store when a job is finished."""

    def run(self, jobs: Sequence[Job]) -> Iterator[FinishedJob]:
        """Yield each job as it ends; one that failed is yielded like the others.

        Raises:
            UsageError: what was asked for is wrong for every checkpoint.
        """


class LocalExecutor:
    """One job after the other, in their order: what checkpoints share is kept from one to the next."""

    def __init__(self, evaluate: Callable[[Job], Sequence[str]], store: ResultStore, progress: Progress) -> None:
        """`evaluate` does one job and returns its runs."""
        self._evaluate = evaluate
        self._store = store
        self._progress = progress

    def run(self, jobs: Sequence[Job]) -> Iterator[FinishedJob]:
        """Yield each job as it ends.

        Raises:
            UsageError: what was asked for is wrong for every checkpoint.
        """
        with self._progress.stage("checkpoints", len(jobs)) as bar:
            for job in jobs:
                bar.describe(job.checkpoint.model or job.checkpoint.source)
                yield self._finish(job)
                bar.advance()

    def _finish(self, job: Job) -> FinishedJob:
        try:
            return FinishedJob(job=job, run_ids=tuple(self._evaluate(job)))
        except UsageError:
            raise
        except ForecastError as error:
            with suppress(ForecastError, OSError):
                self._store.commit()  # What was finished before; where this fails too, the spool keeps it.
            return FinishedJob(job=job, failure=error)
