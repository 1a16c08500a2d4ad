"""Several members trained side by side, each in a process of its own: tiny models cannot use a second core by themselves."""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.queues import Queue
from typing import TYPE_CHECKING

from forecast.core.errors import CheckpointError, ForecastError
from forecast.core.failures import say_failure
from forecast.training.events import Event, Report
from forecast.training.member import train_member
from forecast.training.plan import MemberPlan
from forecast.training.settings import MemberInputs, TrainingSettings

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

_POLL_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Job:
    """One member to train."""

    plan: MemberPlan
    inputs: MemberInputs
    settings: TrainingSettings


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A member is trained, or failed with a message."""

    member: str
    error: str | None


def train_all(jobs: Sequence[Job], *, processes: int, report: Report) -> dict[str, str]:
    """Train the members in the given order; returns member -> error of those that failed. The others go on.

    With one process everything happens in this one. Interrupting loses at most what is younger than the last restart state.
    """
    if processes <= 1 or len(jobs) <= 1:
        failed: dict[str, str] = {}
        for job in jobs:
            error = _train(job, report)
            if error is not None:
                failed[job.plan.member.name] = error
        return failed
    return _train_side_by_side(jobs, min(processes, len(jobs)), report)


def _train(job: Job, report: Report) -> str | None:
    """Train a member; return what stopped it. Out of memory, it goes on from its last state with half the micro-batch."""
    from forecast.scoring.device_memory import is_out_of_memory, release_cached_memory

    settings = job.settings
    while True:
        try:
            train_member(job.plan, job.inputs, settings, report)
        except ForecastError as error:
            return str(error)
        except (RuntimeError, ValueError, OSError, MemoryError) as error:
            smaller = _smaller_micro_batch(settings) if is_out_of_memory(error) else None
            if smaller is None:
                return str(CheckpointError(say_failure(error)))
            settings = smaller
        else:
            return None
        # Outside the handler, whose traceback keeps the failed step's tensors alive.
        release_cached_memory()


def _smaller_micro_batch(settings: TrainingSettings) -> TrainingSettings | None:
    """The same step in the next larger number of micro-batches; None where a micro-batch is one sequence already."""
    sequences = settings.micro_sequences * settings.accumulation
    for micro in range(settings.micro_sequences // 2, 0, -1):
        if sequences % micro == 0:
            return replace(settings, micro_sequences=micro, accumulation=sequences // micro)
    return None


def _train_side_by_side(jobs: Sequence[Job], processes: int, report: Report) -> dict[str, str]:
    context = get_context("spawn")
    work: Queue[Job | None] = context.Queue()
    news: Queue[Event | Finished] = context.Queue()
    work.cancel_join_thread()
    for job in jobs:
        work.put(job)
    for _ in range(processes):
        work.put(None)
    crew: list[BaseProcess] = [context.Process(target=_work, args=(work, news), daemon=True) for _ in range(processes)]
    failed: dict[str, str] = {}
    open_members = {job.plan.member.name for job in jobs}
    try:
        _start(crew)
        while open_members:
            try:
                message = news.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                if not any(process.is_alive() for process in crew):
                    failed |= dict.fromkeys(open_members, "its process died (out of memory?)")
                    break
                continue
            if isinstance(message, Finished):
                open_members.discard(message.member)
                if message.error is not None:
                    failed[message.member] = message.error
            else:
                report(message)
    finally:
        _dismiss(crew, stop=bool(open_members))
    return failed


def _start(crew: Sequence[BaseProcess]) -> None:
    """Start the processes with Ctrl-C ignored: it reaches the whole group, and the parent decides what to do."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main_thread else None
    try:
        for process in crew:
            process.start()
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)


def _dismiss(crew: Sequence[BaseProcess], *, stop: bool) -> None:
    """Wait for all processes to end; `stop` ends those that still work."""
    for process in crew:
        if stop and process.is_alive():
            process.terminate()
    for process in crew:
        if process.pid is not None:
            process.join()


def _work(work: Queue[Job | None], news: Queue[Event | Finished]) -> None:
    """Train members until there are none left; runs in a process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_parent()
    while (job := work.get()) is not None:
        news.put(Finished(member=job.plan.member.name, error=_train(job, news.put)))


def _die_with_parent() -> None:
    """End this process when its parent was killed; a daemon process is ended only by a parent that exits in order."""
    parent = os.getppid()

    def watch() -> None:
        waiting = threading.Event()
        while os.getppid() == parent:
            waiting.wait(_POLL_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
