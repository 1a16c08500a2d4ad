"""Collects the scores of one run's choices until their items are whole, and spools those."""

from __future__ import annotations

import time
from collections import Counter

from forecast.core.errors import ForecastError, StoreError
from forecast.core.failures import say_failure
from forecast.core.records import GeneratedAnswer, ScoredShard
from forecast.evaluation.records import OpenedRun, ResultStore
from forecast.evaluation.scorers.scorer import WrittenText
from forecast.scoring.requests import GenerationRequest, TextRequest

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
        self.generations = opened.task.generations if opened.writes_answers else ()
        """One an item, those of finished items included; empty where answers are not written."""
        self._judge = opened.task.judge
        self._waiting: dict[int, dict[int, WrittenText]] = {}
        self._answers: dict[int, tuple[GeneratedAnswer, ...]] = {}
        self._n_choices = Counter(request.item_idx for request in self.requests if self.wants(request))
        self._gold = {item.item_idx: item.gold for item in opened.task.record.items}
        self._gold_text = {item.item_idx: item.choices[item.gold] for item in opened.task.record.items[:1] if item.choices}
        self._scores: dict[int, dict[int, tuple[float, int, bool]]] = {}
        self._gold_tokens: dict[int, tuple[float, ...]] = {}
        self._ready: list[int] = []
        self._flushed_at = time.monotonic()
        if not self.generations:
            # An item without a gold answer has nothing else to wait for.
            self._ready += [index for index in self._gold if index not in self._done and not self._n_choices[index]]

    def wants(self, request: TextRequest | GenerationRequest) -> bool:
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
        if not self.generations and len(choices) == self._n_choices[request.item_idx]:
            self._finish(request.item_idx)

    def probe(self) -> None:
        """Try the task's metrics on a gold answer before anything is computed.

        Raises:
            UsageError: one needs a package that is not installed.
        """
        if self.generations and self._judge is not None:
            first = self.generations[0].item_idx
            self._judge.probe(first, self._gold_text.get(first, "1"))

    def add_answer(self, request: GenerationRequest, sample: int, written: WrittenText, samples: int) -> None:
        """Keep one answer; with the last of an item's `samples` they are judged, and the item is whole.

        Raises:
            InputError: the task's filters or metrics fail on an answer.
        """
        answers = self._waiting.setdefault(request.item_idx, {})
        answers[sample] = written
        if len(answers) < samples:
            return
        texts = [answers[number] for number in sorted(answers)]
        assert self._judge is not None
        judged = self._judge.judge(request.item_idx, [one.text for one in texts])
        self._answers[request.item_idx] = tuple(
            GeneratedAnswer(
                sample_idx=number,
                text=one.text,
                n_tokens=one.n_tokens,
                stopped=one.stopped,
                extracted=verdict.extracted,
                values=verdict.values,
                correct=verdict.correct,
            )
            for number, (one, verdict) in enumerate(zip(texts, judged, strict=True))
        )
        del self._waiting[request.item_idx]
        self._finish(request.item_idx)

    def _finish(self, item_idx: int) -> None:
        self._ready.append(item_idx)
        if len(self._ready) >= _FLUSH_ITEMS or time.monotonic() - self._flushed_at > _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Spool the finished items."""
        if self._ready:
            scores = [self._scores.get(item, {}) for item in self._ready]
            rows = [[choices[choice] for choice in sorted(choices)] for choices in scores]
            gold_tokens = tuple(self._gold_tokens.get(item, ()) for item in self._ready)
            shard = ScoredShard(
                run_id=self.run.run_id,
                item_idx=tuple(self._ready),
                loglikelihoods=tuple(tuple(score for score, _, _ in row) for row in rows),
                n_tokens=tuple(tuple(count for _, count, _ in row) for row in rows),
                is_greedy=tuple(tuple(greedy for _, _, greedy in row) for row in rows),
                gold_token_loglikelihoods=gold_tokens if any(gold_tokens) else (),
                generations=tuple(self._answers[item] for item in self._ready) if self.generations else (),
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
                self._scores.pop(item, None)
                self._answers.pop(item, None)
                self._gold_tokens.pop(item, None)
            self._ready.clear()
        self._flushed_at = time.monotonic()
