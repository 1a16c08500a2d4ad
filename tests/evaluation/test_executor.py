"""Jobs run one after the other; one that fails is reported like the others, and what was finished before is stored."""

from __future__ import annotations

from typing import Any

import pytest

from forecast.core.errors import CheckpointError, StoreError, UsageError
from forecast.core.progress import SilentProgress
from forecast.core.records import CheckpointRequest
from forecast.evaluation.executor import Job, LocalExecutor


class FailingStore:
    """Counts commits, each of which fails."""

    def __init__(self) -> None:
        self.commits = 0

    def commit(self) -> int:
        self.commits += 1
        raise StoreError("full")


def jobs(*sources: str) -> list[Job]:
    return [Job(checkpoint=CheckpointRequest(source=source), tasks=[]) for source in sources]


def executor(evaluate: Any, store: Any) -> LocalExecutor:
    return LocalExecutor(evaluate, store, SilentProgress())


def test_a_job_that_fails_stops_no_other() -> None:
    store = FailingStore()

    def evaluate(job: Job) -> list[str]:
        if job.checkpoint.source == "b":
            raise CheckpointError("b is broken")
        return [f"run of {job.checkpoint.source}"]

    finished = list(executor(evaluate, store).run(jobs("a", "b", "c")))
    assert [entry.run_ids for entry in finished] == [("run of a",), (), ("run of c",)]
    assert [str(entry.failure) for entry in finished if entry.failure] == ["b is broken"]
    assert store.commits == 1


def test_what_is_wrong_for_every_checkpoint_stops_at_once() -> None:
    seen: list[str] = []

    def evaluate(job: Job) -> list[str]:
        seen.append(job.checkpoint.source)
        raise UsageError("no such backend")

    with pytest.raises(UsageError, match="no such backend"):
        list(executor(evaluate, FailingStore()).run(jobs("a", "b")))
    assert seen == ["a"]
