"""Scores one checkpoint's open items through a model of lm-eval's registry, stored like any other run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from forecast.core.progress import Progress
from forecast.core.records import RunCounters, RunStatus
from forecast.evaluation.records import OpenedRun, ResultStore
from forecast.evaluation.run_in_progress import RunInProgress
from forecast.scoring.lm_eval_backend import score_through


def score_through_backend(
    backend: Any, opened: Sequence[OpenedRun], store: ResultStore, progress: Progress, *, name: str
) -> None:
    """Send every missing request; what a backend computes inside is its own business, so only time is counted."""
    for entry in opened:
        run, collected = entry.run, RunInProgress(entry, store)
        requests = [request for request in collected.requests if collected.wants(request)]
        started = time.perf_counter()
        try:
            with progress.stage(f"{name} {collected.task_name}", len(requests), "requests") as bar:
                for answers in score_through(backend, requests, asked=f"backend '{run.backend}' with {name}"):
                    for answer in answers:
                        request = requests[answer.index]
                        collected.add(request, answer.loglikelihood, answer.n_tokens, answer.is_greedy)
                    bar.advance(len(answers))
        finally:
            collected.flush()
        counters = RunCounters(
            tokens_requested=0,
            tokens_unique=0,
            tokens_computed=0,
            tokens_padded=0,
            seconds=time.perf_counter() - started,
        )
        store.close_run(run.run_id, RunStatus.COMPLETE, counters)
