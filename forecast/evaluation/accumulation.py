"""Scores the runs of one plan: adds up parts until texts are whole, hands finished items to the store, shares out the cost."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from forecast.core.progress import Progress
from forecast.core.records import RunCounters, RunStatus
from forecast.evaluation.answers import NOTHING, both, write_answers_of
from forecast.evaluation.records import OpenedRun, ResultStore
from forecast.evaluation.run_in_progress import RunInProgress
from forecast.evaluation.scorers.scorer import Asked, Scored, Scorer, Scoring
from forecast.scoring.decoding import SamplingSettings
from forecast.scoring.requests import TextRequest

_Owners = Sequence[tuple[RunInProgress, TextRequest]]


def score_units(
    scorer: Scorer,
    units: Sequence[Sequence[OpenedRun]],
    store: ResultStore,
    progress: Progress,
    *,
    name: str,
    sampling: SamplingSettings | None = None,
) -> None:
    """Score what is not stored yet, plan by plan, or run by run where nothing is shared; write the answers that are asked for.

    Raises:
        ForecastError: a text cannot be asked or scored; what is finished is stored.
    """
    if not scorer.together:
        units = [(entry,) for unit in units for entry in unit if entry.is_missing]
    for unit in units:
        _score_unit(scorer, unit, store, progress, name=name, sampling=sampling or SamplingSettings())


def _score_unit(
    scorer: Scorer,
    opened: Sequence[OpenedRun],
    store: ResultStore,
    progress: Progress,
    *,
    name: str,
    sampling: SamplingSettings,
) -> None:
    runs = [RunInProgress(entry, store) for entry in opened]
    owners = [(run, request) for run in runs for request in run.requests]

    def name_text(index: int) -> str:
        run, request = owners[index]
        return f"{run.task_label}, item {request.item_idx}, choice {request.choice_idx}"

    asked = Asked(
        texts=[request for _, request in owners],
        wanted=np.array([run.wants(request) for run, request in owners], dtype=np.bool_),
        task_ids=tuple(entry.run.task_id for entry in opened),
        backend=opened[0].run.backend,
        checkpoint=name,
        name=name_text,
        notice=lambda text: progress.notice(f"{name}: {text}"),
    )
    label = name if scorer.together else f"{name} {opened[0].task.record.task}"
    try:
        costs = _score_texts(scorer, asked, owners, runs, progress, label)
        answers = write_answers_of(
            scorer, runs, sampling, progress, backend=opened[0].run.backend, name=name, notice=asked.notice
        )
    finally:
        # Interrupted or failed, what is finished is kept.
        for run in runs:
            run.flush()
    for run, cost, written in zip(runs, costs, answers, strict=True):
        if run.is_missing:
            store.close_run(run.run.run_id, RunStatus.COMPLETE, both(cost, written))


def _score_texts(
    scorer: Scorer, asked: Asked, owners: _Owners, runs: Sequence[RunInProgress], progress: Progress, label: str
) -> list[RunCounters]:
    """Score what has a text; return what it cost each run."""
    if not asked.wanted.any():
        return [NOTHING] * len(runs)
    scoring = scorer.score(asked)
    totals = _add_up(scoring, asked.wanted, owners, progress, label)
    summary = scorer.summarise(totals)
    if summary:
        progress.notice(f"{asked.checkpoint}: {summary}")
    return _share_out(scoring, asked.wanted, owners, runs, totals)


def _add_up(scoring: Scoring, wanted: NDArray[np.bool_], owners: _Owners, progress: Progress, label: str) -> RunCounters:
    """Take all parts; return the counters of everything together."""
    # An unwanted text in a batch with wanted ones never becomes whole.
    missing = scoring.n_parts + ~wanted
    sums = np.zeros(len(owners))
    n_tokens = scoring.n_tokens.copy()
    greedy = np.ones(len(owners), dtype=np.bool_)
    # A text in several parts is a document, not an answer; its tokens are not kept.
    kept = np.array([run.keeps_tokens(request) for run, request in owners], dtype=np.bool_) & (scoring.n_parts == 1)
    by_token: dict[int, tuple[float, ...]] = {}
    computed, padded, flops, bound = 0, 0, 0.0, scoring.flops_bound
    started = time.perf_counter()
    with progress.stage(label, scoring.total, scoring.unit) as bar:
        for done in scoring.results:
            np.add.at(sums, done.text, done.loglikelihood)
            np.logical_and.at(greedy, done.text, done.is_greedy)
            np.subtract.at(missing, done.text, 1)
            if done.n_tokens is not None:
                np.add.at(n_tokens, done.text, done.n_tokens)
            by_token.update(_tokens_of(done, kept))
            for text in np.unique(done.text[missing[done.text] == 0]).tolist():
                run, request = owners[text]
                run.add(request, float(sums[text]), int(n_tokens[text]), bool(greedy[text]), by_token.pop(text, ()))
            computed += done.tokens_computed
            padded += done.tokens_padded
            flops += done.flops
            bound += done.flops_bound
            bar.advance(done.advance)
            if computed:
                bar.describe(f"{computed / (time.perf_counter() - started):,.0f} tokens/s")
    return RunCounters(
        tokens_requested=int(scoring.tokens_asked[wanted].sum()),
        tokens_unique=computed if scoring.tokens_unique is None else scoring.tokens_unique,
        tokens_computed=computed,
        tokens_padded=padded,
        tokens_truncated=int(scoring.tokens_truncated[wanted].sum()),
        seconds=time.perf_counter() - started,
        flops_done=flops,
        flops_bound=bound,
    )


def _tokens_of(done: Scored, kept: NDArray[np.bool_]) -> Iterator[tuple[int, tuple[float, ...]]]:
    """Texts among these parts whose loglikelihood is kept token by token, with it; a single token's is the text's own."""
    if done.token_loglikelihood is None or done.part_tokens is None:
        return
    stops = np.cumsum(done.part_tokens)
    for part in np.flatnonzero(kept[done.text] & (done.part_tokens > 1)).tolist():
        start = int(stops[part] - done.part_tokens[part])
        yield int(done.text[part]), tuple(done.token_loglikelihood[start : int(stops[part])].tolist())


def _share_out(
    scoring: Scoring, wanted: NDArray[np.bool_], owners: _Owners, runs: Sequence[RunInProgress], totals: RunCounters
) -> list[RunCounters]:
    """Each run's part of a scoring that several tasks shared."""
    number = {id(run): index for index, run in enumerate(runs)}
    run_of = np.array([number[id(run)] for run, _ in owners], dtype=np.int64)
    asked, truncated, share = (
        np.bincount(run_of, weights=part, minlength=len(runs))
        for part in (scoring.tokens_asked * wanted, scoring.tokens_truncated * wanted, scoring.share)
    )
    shares = share / max(1.0, float(share.sum()))
    return [
        RunCounters(
            tokens_requested=int(asked[index]),
            tokens_unique=round(totals.tokens_unique * shares[index]),
            tokens_computed=round(totals.tokens_computed * shares[index]),
            tokens_padded=round(totals.tokens_padded * shares[index]),
            tokens_truncated=int(truncated[index]),
            seconds=totals.seconds * shares[index],
            flops_done=totals.flops_done * shares[index],
            flops_bound=totals.flops_bound * shares[index],
        )
        for index in range(len(runs))
    ]
