"""Collects the scores of one run's choices until their items are whole, and spools those."""

from __future__ import annotations

import time

from forecast.core.records import RunRecord, ScoredShard
from forecast.scoring.requests import RenderedTask, TextRequest
from forecast.workflows.evaluate_records import ResultStore

_FLUSH_ITEMS = 2000
_FLUSH_SECONDS = 10.0


class RunInProgress:
    """Collects one run's choices until its items are whole, and spools them."""

    def __init__(self, run: RunRecord, task: RenderedTask, done: frozenset[int], store: ResultStore) -> None:
        self.run = run
        self.task_name = task.record.task
        self.requests: list[TextRequest] = [request for request in task.requests if request.item_idx not in done]
        self._store = store
        self._n_choices: dict[int, int] = {}
        for request in self.requests:
            self._n_choices[request.item_idx] = self._n_choices.get(request.item_idx, 0) + 1
        self._scores: dict[int, dict[int, tuple[float, int, bool]]] = {}
        self._ready: list[int] = []
        self._flushed_at = time.monotonic()

    def add(self, request: TextRequest, loglikelihood: float, n_tokens: int, is_greedy: bool) -> None:
        """Keep one choice's score."""
        choices = self._scores.setdefault(request.item_idx, {})
        choices[request.choice_idx] = (loglikelihood, n_tokens, is_greedy)
        if len(choices) == self._n_choices[request.item_idx]:
            self._ready.append(request.item_idx)
            if len(self._ready) >= _FLUSH_ITEMS or time.monotonic() - self._flushed_at > _FLUSH_SECONDS:
                self.flush()

    def flush(self) -> None:
        """Spool the finished items."""
        if self._ready:
            rows = [[self._scores[item][choice] for choice in sorted(self._scores[item])] for item in self._ready]
            self._store.append(
                ScoredShard(
                    run_id=self.run.run_id,
                    item_idx=tuple(self._ready),
                    loglikelihoods=tuple(tuple(score for score, _, _ in row) for row in rows),
                    n_tokens=tuple(tuple(count for _, count, _ in row) for row in rows),
                    is_greedy=tuple(tuple(greedy for _, _, greedy in row) for row in rows),
                )
            )
            for item in self._ready:
                del self._scores[item]
            self._ready.clear()
        self._flushed_at = time.monotonic()
