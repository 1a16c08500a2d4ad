"""Collects the scores of one run's choices until their items are whole, and spools those."""

from __future__ import annotations

import time
from collections import Counter

from forecast.core.errors import ForecastError, StoreError
from forecast.core.failures import say_failure
from forecast.core.records import ScoredShard
from forecast.evaluation.records import OpenedRun, ResultStore
from forecast.scoring.requests import TextRequest

_FLUSH_ITEMS = 2000
_FLUSH_SECONDS = 10.0


class RunInProgress:
    """Collects one run's choices until its items are whole, and spools them."""

    def __init__(self, opened: OpenedRun, store: ResultStore) -> None:
        self.run = opened.run
        self.task_label = opened.task.record.label
        self.requests = opened.task.requests
        """All of the task's, those of finished items included: batches are cut from the whole."""
        self.is_missing = opened.is_missing
        self._done = opened.done
        self._store = store
        self._n_choices = Counter(request.item_idx for request in self.requests if self.wants(request))
        self._gold = {item.item_idx: item.gold for item in opened.task.record.items}
        self._scores: dict[int, dict[int, tuple[float, int, bool]]] = {}
        self._gold_tokens: dict[int, tuple[float, ...]] = {}
        self._ready: list[int] = []
        self._flushed_at = time.monotonic()

    def wants(self, request: TextRequest) -> bool:
        """Whether the request's item is not stored yet."""
        return request.item_idx not in self._done

    def keeps_tokens(self, request: TextRequest) -> bool:
        """Whether the request asks for the gold answer, whose loglikelihood is kept token by token."""
        return not request.rolling and request.choice_idx == self._gold[request.item_idx]

    def add(
        self, request: TextRequest, loglikelihood: float, n_tokens: int, is_greedy: bool, by_token: tuple[float, ...] = ()
    ) -> None:
        """Keep one choice's score, and what its tokens' are if it is the gold answer's."""
        if by_token:
            self._gold_tokens[request.item_idx] = by_token
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
            gold_tokens = tuple(self._gold_tokens.get(item, ()) for item in self._ready)
            shard = ScoredShard(
                run_id=self.run.run_id,
                item_idx=tuple(self._ready),
                loglikelihoods=tuple(tuple(score for score, _, _ in row) for row in rows),
                n_tokens=tuple(tuple(count for _, count, _ in row) for row in rows),
                is_greedy=tuple(tuple(greedy for _, _, greedy in row) for row in rows),
                gold_token_loglikelihoods=gold_tokens if any(gold_tokens) else (),
            )
            try:
                self._store.append(shard)
            except ForecastError:
                raise
            except Exception as error:
                raise StoreError(
                    f"the results of {self.task_label} cannot be stored: {say_failure(error)}",
                    remedy="what was stored before is kept; run the same command again",
                ) from error
            for item in self._ready:
                del self._scores[item]
                self._gold_tokens.pop(item, None)
            self._ready.clear()
        self._flushed_at = time.monotonic()
