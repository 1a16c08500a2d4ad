"""Scores one masked language model on all its tasks by pseudo-log-likelihood, and hands finished items to the store."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from forecast.core.progress import Progress
from forecast.core.records import RunCounters, RunStatus
from forecast.evaluation.records import OpenedRun, ResultStore, ScoringSettings
from forecast.evaluation.run_in_progress import RunInProgress
from forecast.scoring.checkpoint_loading import LoadedCheckpoint
from forecast.scoring.engine import ScoringOptions
from forecast.scoring.masked_forward import score_masked
from forecast.scoring.masked_tokenization import MaskedEncoder, MaskedRequest
from forecast.scoring.requests import TextRequest
from forecast.scoring.tokenizer_check import count_unknown
from forecast.scoring.versions import MASKED_BACKEND

_Owners = Sequence[tuple[RunInProgress, TextRequest]]


def score_masked_checkpoint(
    checkpoint: LoadedCheckpoint,
    opened: Sequence[OpenedRun],
    settings: ScoringSettings,
    store: ResultStore,
    progress: Progress,
    *,
    name: str,
) -> dict[str, RunCounters]:
    """Score what is not stored yet; returns run id -> counters.

    Tokens are counted as positions fed to the model: `tokens_requested` as if every scored token had a forward pass of its
    own, `tokens_unique` and `tokens_computed` the distinct masked inputs.

    Raises:
        CheckpointError: a logit is NaN or infinite, or the tokenizer is none of a masked model.
        InputError: a choice has no token of its own, or more than the window.
    """
    runs = [RunInProgress(entry, store) for entry in opened]
    owners = [(run, request) for run in runs for request in run.requests]
    encoder = MaskedEncoder(checkpoint.tokenizer, max_length=checkpoint.max_length)
    requests = encoder.encode_requests([request for _, request in owners])
    _report_unknown(checkpoint, requests, progress, name)
    progress.notice(f"{name}: a masked model; scores are pseudo-log-likelihoods, kept apart under backend '{MASKED_BACKEND}'")
    try:
        counters = _score_all(checkpoint, requests, owners, runs, settings, progress, name)
    finally:
        # Interrupted or failed, what is finished is kept.
        for run in runs:
            run.flush()
    for run_id, counted in counters.items():
        store.close_run(run_id, RunStatus.COMPLETE, counted)
    return counters


def _report_unknown(checkpoint: LoadedCheckpoint, requests: Sequence[MaskedRequest], progress: Progress, name: str) -> None:
    scored = np.array([request.inputs[position] for request in requests for position in request.scored], dtype=np.int64)
    count = count_unknown(checkpoint.tokenizer, scored)
    if count:
        progress.notice(f"{name}: {count:,} of {len(scored):,} scored tokens are unknown to the tokenizer and scored as such")


def _score_all(
    checkpoint: LoadedCheckpoint,
    requests: Sequence[MaskedRequest],
    owners: _Owners,
    runs: Sequence[RunInProgress],
    settings: ScoringSettings,
    progress: Progress,
    name: str,
) -> dict[str, RunCounters]:
    n_scored = np.zeros(len(owners), dtype=np.int64)
    truncated = np.zeros(len(owners), dtype=np.int64)
    asked = np.zeros(len(owners), dtype=np.int64)
    for request in requests:
        n_scored[request.owner] += len(request.scored)
        truncated[request.owner] += request.n_truncated
        asked[request.owner] += len(request.scored) * len(request.inputs)
    wanted = np.array([run.wants(text) for run, text in owners], dtype=np.bool_)
    # An unwanted text in a batch with wanted ones never becomes whole.
    missing = n_scored + ~wanted
    asked[~wanted] = 0
    sums = np.zeros(len(owners))
    greedy = np.ones(len(owners), dtype=np.bool_)
    computed, padded, flops, bound = 0, 0, 0.0, 0.0

    def name_request(owner: int) -> str:
        run, request = owners[owner]
        return f"task '{run.task_name}', item {request.item_idx}, choice {request.choice_idx}"

    started = time.perf_counter()
    options = ScoringOptions(token_budget=settings.token_budget, deterministic=settings.deterministic)
    with progress.stage(name, int(asked.sum()), "tokens") as bar:
        for done in score_masked(
            checkpoint,
            requests,
            options,
            on_notice=lambda text: progress.notice(f"{name}: {text}"),
            name_request=name_request,
            wanted=wanted[np.array([request.owner for request in requests], dtype=np.int64)],
        ):
            np.add.at(sums, done.owner, done.loglikelihood)
            np.logical_and.at(greedy, done.owner, done.is_greedy)
            np.subtract.at(missing, done.owner, 1)
            for owner in np.unique(done.owner[missing[done.owner] == 0]).tolist():
                run, text = owners[owner]
                run.add(text, float(sums[owner]), int(n_scored[owner]), bool(greedy[owner]))
            computed += done.tokens_computed
            padded += done.tokens_padded
            flops += done.flops
            bound += done.flops_bound
            bar.advance(done.tokens_asked)
            bar.describe(f"{computed / (time.perf_counter() - started):,.0f} tokens/s")
    totals = RunCounters(
        tokens_requested=int(asked.sum()),
        tokens_unique=computed,
        tokens_computed=computed,
        tokens_padded=padded,
        seconds=time.perf_counter() - started,
        flops_done=flops,
        flops_bound=bound,
    )
    return {run.run.run_id: _share_of(run, owners, asked, truncated, totals) for run in runs if run.is_missing}


def _share_of(
    run: RunInProgress, owners: _Owners, asked: NDArray[np.int64], truncated: NDArray[np.int64], totals: RunCounters
) -> RunCounters:
    """One run's part of a scoring that several tasks shared, by the positions that it asked for."""
    mine = np.array([owner is run and run.wants(text) for owner, text in owners], dtype=np.bool_)
    share = float(asked[mine].sum()) / max(1, totals.tokens_requested)
    return RunCounters(
        tokens_requested=int(asked[mine].sum()),
        tokens_unique=round(totals.tokens_unique * share),
        tokens_computed=round(totals.tokens_computed * share),
        tokens_padded=round(totals.tokens_padded * share),
        tokens_truncated=int(truncated[mine].sum()),
        seconds=totals.seconds * share,
        flops_done=totals.flops_done * share,
        flops_bound=totals.flops_bound * share,
    )
