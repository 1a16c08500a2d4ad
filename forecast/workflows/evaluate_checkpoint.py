"""Scores one loaded checkpoint on all its tasks at once, and hands finished items to the store as they come."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict

from forecast.core.progress import Progress
from forecast.core.records import RunCounters, RunRecord, RunStatus, ScoredShard
from forecast.scoring.checkpoint_loading import LoadedCheckpoint
from forecast.scoring.engine import score_plainly
from forecast.scoring.requests import RenderedTask, TextRequest, TokenRequest
from forecast.scoring.tokenization import Encoder
from forecast.workflows.evaluate_records import ResultStore, ScoringSettings

_FLUSH_ITEMS = 2000
_FLUSH_SECONDS = 10.0
_PLAIN_TOKEN_BUDGET = 1024


class _RunInProgress:
    """Collects one run's choices until its items are whole, and spools them."""

    def __init__(self, run: RunRecord, task: RenderedTask, done: frozenset[int], store: ResultStore) -> None:
        self.run = run
        self.requests: list[TextRequest] = [request for request in task.requests if request.item_idx not in done]
        self._store = store
        self._n_choices: dict[int, int] = {}
        for request in self.requests:
            self._n_choices[request.item_idx] = self._n_choices.get(request.item_idx, 0) + 1
        self._scores: dict[int, dict[int, tuple[float, int, bool]]] = {}
        self._ready: list[int] = []
        self._flushed_at = time.monotonic()
        self.tokens_requested = 0
        self.tokens_truncated = 0

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


def score_checkpoint(
    checkpoint: LoadedCheckpoint,
    opened: Sequence[tuple[RunRecord, RenderedTask, frozenset[int]]],
    settings: ScoringSettings,
    store: ResultStore,
    progress: Progress,
    *,
    name: str,
) -> dict[str, dict[str, object]]:
    """Score what is not stored yet; returns run id -> counters."""
    runs = [_RunInProgress(run, task, done, store) for run, task, done in opened]
    texts = [(run, request) for run in runs for request in run.requests]
    encoder = Encoder(checkpoint.tokenizer, max_length=checkpoint.max_length)
    encoded = encoder.encode_requests([request for _, request in texts])
    for token_request in encoded:
        run = texts[token_request.owner][0]
        run.tokens_requested += len(token_request.inputs)
        run.tokens_truncated += token_request.n_truncated
    started = time.perf_counter()
    _score_all(checkpoint, encoded, texts, settings, progress, name)
    seconds = time.perf_counter() - started
    results: dict[str, dict[str, object]] = {}
    total = sum(run.tokens_requested for run in runs) or 1
    for run in runs:
        run.flush()
        counters = RunCounters(
            tokens_requested=run.tokens_requested,
            tokens_unique=run.tokens_requested,
            tokens_computed=run.tokens_requested,
            tokens_padded=0,
            tokens_truncated=run.tokens_truncated,
            seconds=seconds * run.tokens_requested / total,
        )
        store.close_run(run.run.run_id, RunStatus.COMPLETE, counters)
        results[run.run.run_id] = asdict(counters)
    return results


def _score_all(
    checkpoint: LoadedCheckpoint,
    encoded: Sequence[TokenRequest],
    texts: Sequence[tuple[_RunInProgress, TextRequest]],
    settings: ScoringSettings,
    progress: Progress,
    name: str,
) -> None:
    parts = [0] * len(texts)
    for token_request in encoded:
        parts[token_request.owner] += 1
    sums = [0.0] * len(texts)
    counts = [0] * len(texts)
    greedy = [True] * len(texts)
    budget = settings.token_budget or _PLAIN_TOKEN_BUDGET
    with progress.stage(name, len(texts), "requests") as bar:
        for finished in score_plainly(checkpoint, encoded, token_budget=budget):
            whole = 0
            for index, score, is_argmax in zip(finished.request, finished.loglikelihood, finished.is_greedy, strict=True):
                owner = encoded[index].owner
                sums[owner] += float(score)
                counts[owner] += len(encoded[index].targets)
                greedy[owner] &= bool(is_argmax)
                parts[owner] -= 1
                if parts[owner] == 0:
                    run, request = texts[owner]
                    run.add(request, sums[owner], counts[owner], greedy[owner])
                    whole += 1
            bar.advance(whole)
