"""Has answers written for the runs of one plan: what to draw, the progress, the cost, and what a user should know of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from forecast.core.progress import Progress
from forecast.core.records import RunCounters
from forecast.evaluation.run_in_progress import RunInProgress
from forecast.evaluation.scorers.scorer import AskedAnswers, Scorer, WrittenText
from forecast.scoring.decoding import Decoding, SamplingSettings, settle_decoding
from forecast.scoring.requests import GenerationRequest, RenderedTask


def check_sampling(tasks: Sequence[RenderedTask], sampling: SamplingSettings) -> None:
    """Refuse what a task cannot be asked for, before any checkpoint is looked at.

    Raises:
        UsageError: several answers of a greedy request, or contradicting settings; the task is named.
    """
    if sampling.is_default:
        return
    for task in tasks:
        for request in task.generations[:1]:
            settle_decoding(request.kwargs, request.repeats, sampling, task=task.record.task)


@dataclass(frozen=True, kw_only=True)
class _Asked:
    run: RunInProgress
    request: GenerationRequest
    decoding: Decoding


def write_answers_of(
    scorer: Scorer,
    runs: Sequence[RunInProgress],
    sampling: SamplingSettings,
    progress: Progress,
    *,
    backend: str,
    name: str,
    notice: Callable[[str], None],
) -> list[RunCounters]:
    """Write the answers of all runs that have any; return what it cost each.

    Raises:
        ForecastError: an answer cannot be written or judged; what is finished is stored.
    """
    asked = [
        _Asked(
            run=run,
            request=request,
            decoding=settle_decoding(request.kwargs, request.repeats, sampling, task=run.task_label),
        )
        for run in runs
        for request in run.generations
    ]
    if not asked:
        return [NOTHING] * len(runs)
    wanted = np.array([entry.run.wants(entry.request) for entry in asked], dtype=np.bool_)
    for run in runs:
        run.probe()
    question = AskedAnswers(
        requests=[entry.request for entry in asked],
        decodings=[entry.decoding for entry in asked],
        wanted=wanted,
        seed=sampling.seed,
        backend=backend,
        checkpoint=name,
        name=lambda index: f"{asked[index].run.task_label}, item {asked[index].request.item_idx}",
        notice=notice,
    )
    tally = _Tally(runs)
    total = sum(entry.decoding.samples for entry, is_wanted in zip(asked, wanted, strict=True) if is_wanted)
    started = time.perf_counter()
    with progress.stage(f"{name} answers", total, "answers") as bar:
        for done in scorer.write(question):
            for index, sample, written in done.answers:
                if wanted[index]:
                    asked[index].run.add_answer(asked[index].request, sample, written, asked[index].decoding.samples)
                    tally.count(asked[index].run, written, asked[index].decoding)
                    bar.advance(1)
            tally.add(done.tokens_computed, done.tokens_padded, done.flops)
            bar.describe(f"{tally.tokens / max(1e-9, time.perf_counter() - started):,.0f} tokens/s")
    tally.report(notice)
    return tally.counters(time.perf_counter() - started)


NOTHING = RunCounters(tokens_requested=0, tokens_unique=0, tokens_computed=0, tokens_padded=0)
"""The cost of what was not asked for."""


class _Tally:
    """What was written, run by run."""

    def __init__(self, runs: Sequence[RunInProgress]) -> None:
        self._runs = runs
        self._written = dict.fromkeys(map(id, runs), 0)
        self._cut: dict[int, list[int]] = {}
        self._empty = dict.fromkeys(map(id, runs), 0)
        self.tokens = 0
        self._computed, self._padded, self._flops = 0, 0, 0.0

    def count(self, run: RunInProgress, written: WrittenText, decoding: Decoding) -> None:
        self._written[id(run)] += written.n_tokens
        self.tokens += written.n_tokens
        if not written.stopped:
            self._cut.setdefault(id(run), []).append(decoding.max_new_tokens)
        self._empty[id(run)] += not written.text.strip()

    def add(self, computed: int, padded: int, flops: float) -> None:
        self._computed += computed
        self._padded += padded
        self._flops += flops

    def report(self, notice: Callable[[str], None]) -> None:
        """Say how many answers of each task the token limit ended, and how many are empty."""
        for run in self._runs:
            cut = self._cut.get(id(run), [])
            if cut:
                notice(f"{run.task_label}: {len(cut):,} answers reached the limit of {max(cut)} tokens without a stop string")
            if self._empty[id(run)]:
                notice(f"{run.task_label}: {self._empty[id(run)]:,} answers are empty")

    def counters(self, seconds: float) -> list[RunCounters]:
        """Share the cost by the tokens that each run's answers have."""
        whole = max(1, sum(self._written.values()))
        shares = [self._written[id(run)] / whole for run in self._runs]
        return [
            RunCounters(
                tokens_requested=self._written[id(run)],
                tokens_unique=round(self._computed * share),
                tokens_computed=round(self._computed * share),
                tokens_padded=round(self._padded * share),
                seconds=seconds * share,
                flops_done=self._flops * share,
                flops_bound=self._flops * share,
            )
            for run, share in zip(self._runs, shares, strict=True)
        ]


def both(one: RunCounters, other: RunCounters) -> RunCounters:
    """Add two costs of one run."""
    return RunCounters(
        tokens_requested=one.tokens_requested + other.tokens_requested,
        tokens_unique=one.tokens_unique + other.tokens_unique,
        tokens_computed=one.tokens_computed + other.tokens_computed,
        tokens_padded=one.tokens_padded + other.tokens_padded,
        tokens_truncated=one.tokens_truncated + other.tokens_truncated,
        seconds=one.seconds + other.seconds,
        flops_done=one.flops_done + other.flops_done,
        flops_bound=one.flops_bound + other.flops_bound,
    )
