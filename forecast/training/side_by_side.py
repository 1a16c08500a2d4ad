"""Several members trained side by side, each in a process of its own: tiny models cannot use a second core by themselves."""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.queues import Queue
from typing import TYPE_CHECKING

from forecast.core.errors import CheckpointError, ForecastError
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
            try:
                train_member(job.plan, job.inputs, job.settings, report)
            except ForecastError as error:
                failed[job.plan.member.name] = str(error)
        return failed
    return _train_side_by_side(jobs, min(processes, len(jobs)), report)


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
        name = job.plan.member.name
        try:
            train_member(job.plan, job.inputs, job.settings, news.put)
            news.put(Finished(member=name, error=None))
        except ForecastError as error:
            news.put(Finished(member=name, error=str(error)))
        except (RuntimeError, ValueError, OSError, MemoryError) as error:
            news.put(Finished(member=name, error=str(CheckpointError(f"{type(error).__name__}: {error}"))))


def _die_with_parent() -> None:
    """End this process when its parent was killed; a daemon process is ended only by a parent that exits in order."""
    parent = os.getppid()

    def watch() -> None:
        waiting = threading.Event()
        while os.getppid() == parent:
            waiting.wait(_POLL_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
