"""Any scorer's parts are added up to texts, texts to items, and the cost is shared out among the runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from forecast.core.errors import CheckpointError
from forecast.core.progress import SilentProgress
from forecast.core.records import RunCounters, RunRecord, RunStatus, ScoredShard, TaskRecord, make_item
from forecast.evaluation.accumulation import score_units
from forecast.evaluation.records import OpenedRun
from forecast.evaluation.scorers.scorer import Asked, Scored, Scoring
from forecast.scoring.requests import RenderedTask, TextRequest


class KeptInMemory:
    """A store of shards and closings."""

    def __init__(self) -> None:
        self.shards: list[ScoredShard] = []
        self.closed: dict[str, RunCounters | None] = {}

    def append(self, shard: ScoredShard) -> None:
        self.shards.append(shard)

    def close_run(self, run_id: str, status: RunStatus, counters: RunCounters | None, error: str = "") -> None:
        assert status is RunStatus.COMPLETE
        self.closed[run_id] = counters

    def loglikelihoods(self) -> dict[tuple[str, int], tuple[float, ...]]:
        return {
            (shard.run_id, item): scores
            for shard in self.shards
            for item, scores in zip(shard.item_idx, shard.loglikelihoods, strict=True)
        }


class TwoParts:
    """Every text has two parts, of -1 and of minus its position; the second ones come in a second batch."""

    def __init__(self, *, together: bool = True, fail_after: int = 2) -> None:
        self.together = together
        self.asked: list[Asked] = []
        self._fail_after = fail_after

    def score(self, asked: Asked) -> Scoring:
        self.asked.append(asked)
        n = len(asked.texts)
        twos = np.full(n, 2, dtype=np.int64)
        return Scoring(
            results=self._results(n),
            n_parts=twos,
            n_tokens=3 * twos,
            tokens_asked=10 * twos,
            tokens_truncated=np.arange(n),
            share=twos * asked.wanted,
            total=2 * n,
            unit="parts",
        )

    def _results(self, n: int) -> Iterator[Scored]:
        position = np.arange(n)
        for number, scores in enumerate((np.full(n, -1.0), -1.0 * position)):
            if number == self._fail_after:
                raise CheckpointError("no more")
            yield Scored(
                text=position,
                loglikelihood=scores,
                is_greedy=scores > -2.0,
                advance=n,
                tokens_computed=8,
                tokens_padded=2,
                flops=40.0,
                flops_bound=20.0,
            )

    def summarise(self, totals: RunCounters) -> str:
        return f"{totals.tokens_computed} computed"


def opened(name: str, n_items: int, done: frozenset[int] = frozenset()) -> OpenedRun:
    items = tuple(make_item(i, "q", ("a", "b"), ("a", "b"), (0,)) for i in range(n_items))
    record = TaskRecord(
        task_id=f"task {name}",
        task=name,
        num_fewshot=0,
        fewshot_seed=None,
        output_type="multiple_choice",
        definition_hash="d",
        version="1",
        limit=None,
        items=items,
    )
    requests = [TextRequest(item_idx=i, choice_idx=j, context="q", continuation="a") for i in range(n_items) for j in range(2)]
    run = RunRecord(
        run_id=f"run {name}",
        checkpoint_id="c",
        task_id=record.task_id,
        dtype="float32",
        device="cpu",
        backend="native",
        scoring_version="1",
        started_at="",
        metadata={},
    )
    return OpenedRun(run=run, task=RenderedTask(record=record, requests=requests), done=done)


def score(scorer: Any, *runs: OpenedRun) -> tuple[KeptInMemory, SilentProgress]:
    store, progress = KeptInMemory(), SilentProgress()
    score_units(scorer, [runs], store, progress, name="toy")  # type: ignore[arg-type]
    return store, progress


def test_parts_are_added_up_and_the_cost_is_shared_out() -> None:
    store, progress = score(TwoParts(), opened("one", 1), opened("two", 2))
    assert store.loglikelihoods() == {
        ("run one", 0): (-1.0, -2.0),
        ("run two", 0): (-3.0, -4.0),
        ("run two", 1): (-5.0, -6.0),
    }
    assert [shard.n_tokens for shard in store.shards] == [((6, 6),), ((6, 6), (6, 6))]
    assert [shard.is_greedy for shard in store.shards] == [((True, True),), ((False, False), (False, False))]
    assert progress.notices == ["toy: 16 computed"]
    one, two = store.closed["run one"], store.closed["run two"]
    assert one is not None
    assert two is not None
    assert (one.tokens_requested, two.tokens_requested) == (40, 80)
    assert (one.tokens_truncated, two.tokens_truncated) == (1, 14)
    assert (one.flops_done, two.flops_done) == pytest.approx((80 / 3, 160 / 3))
    assert (one.flops_bound, two.flops_bound) == pytest.approx((40 / 3, 80 / 3))
    assert two.seconds == pytest.approx(2 * one.seconds)


def test_what_is_stored_is_planned_and_not_stored_again() -> None:
    scorer = TwoParts()
    store, _ = score(scorer, opened("one", 1, frozenset({0})), opened("two", 2, frozenset({1})))
    assert scorer.asked[0].wanted.tolist() == [False, False, True, True, False, False]
    assert store.loglikelihoods() == {("run two", 0): (-3.0, -4.0)}
    assert list(store.closed) == ["run two"]
    counters = store.closed["run two"]
    assert counters is not None
    assert (counters.tokens_requested, counters.tokens_computed) == (40, 16)


def test_runs_that_share_nothing_are_scored_one_by_one() -> None:
    scorer = TwoParts(together=False)
    store, _ = score(scorer, opened("one", 1, frozenset({0})), opened("two", 1), opened("three", 1))
    assert [asked.task_ids for asked in scorer.asked] == [("task two",), ("task three",)]
    assert store.loglikelihoods() == {("run two", 0): (-1.0, -2.0), ("run three", 0): (-1.0, -2.0)}


def test_what_is_whole_when_scoring_fails_is_kept() -> None:
    class OneItemThenFailure(TwoParts):
        def score(self, asked: Asked) -> Scoring:
            return replace(super().score(asked), n_parts=np.array([1, 1, 2, 2]))

    store, progress = KeptInMemory(), SilentProgress()
    with pytest.raises(CheckpointError, match="no more"):
        score_units(OneItemThenFailure(fail_after=1), [[opened("two", 2)]], store, progress, name="toy")  # type: ignore[arg-type]
    assert store.loglikelihoods() == {("run two", 0): (-1.0, -1.0)}
    assert store.closed == {}


def test_a_text_is_named_by_task_item_and_choice() -> None:
    scorer = TwoParts()
    score(scorer, opened("one", 1), opened("two", 2))
    assert scorer.asked[0].name(5) == "task 'two', item 1, choice 1"


def test_the_gold_answers_tokens_are_kept_where_there_are_several() -> None:
    class ByToken:
        together = True

        def score(self, asked: Asked) -> Scoring:
            n = len(asked.texts)
            counts = np.array([2, 3, 1, 2][:n])
            values = -np.arange(1.0, counts.sum() + 1)
            ones = np.ones(n, dtype=np.int64)
            # In another order than asked for, as the engine finishes them.
            order = np.arange(n)[::-1]
            starts = np.cumsum(counts) - counts
            by_token = np.concatenate([values[starts[i] : starts[i] + counts[i]] for i in order])
            done = Scored(
                text=order,
                loglikelihood=np.add.reduceat(values, starts)[order],
                is_greedy=ones.astype(np.bool_),
                advance=n,
                token_loglikelihood=by_token,
                part_tokens=counts[order],
            )
            parts = ones.copy()
            return Scoring(
                results=iter([done]),
                n_parts=parts,
                n_tokens=counts,
                tokens_asked=ones,
                tokens_truncated=0 * ones,
                share=ones,
                total=n,
                unit="texts",
            )

        def summarise(self, totals: RunCounters) -> str:
            return ""

    store, _ = score(ByToken(), opened("two", 2))
    (shard,) = store.shards
    # Choice 0 is the gold one; item 1's has one token, which its loglikelihood says already.
    assert dict(zip(shard.item_idx, shard.gold_token_loglikelihoods, strict=True)) == {0: (-1.0, -2.0), 1: ()}
    assert dict(zip(shard.item_idx, shard.loglikelihoods, strict=True)) == {0: (-3.0, -12.0), 1: (-6.0, -15.0)}


def test_no_tokens_are_claimed_where_a_scorer_knows_only_sums() -> None:
    store, _ = score(TwoParts(), opened("two", 2))
    assert [shard.gold_token_loglikelihoods for shard in store.shards] == [()]
