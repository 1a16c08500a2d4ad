"""Scores one loaded checkpoint on all its tasks at once, and hands finished items to the store as they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from forecast.core.progress import Progress
from forecast.core.records import RunCounters, RunStatus
from forecast.evaluation.records import OpenedRun, ResultStore, ScoringSettings
from forecast.evaluation.run_in_progress import RunInProgress
from forecast.scoring.checkpoint_loading import LoadedCheckpoint
from forecast.scoring.engine import ScoringOptions, score_plan
from forecast.scoring.flops import forward_cost, matmul_rate
from forecast.scoring.plan import ScoringPlan, make_plan
from forecast.scoring.requests import TextRequest
from forecast.scoring.tokenization import Encoder
from forecast.scoring.tokenizer_check import count_unknown


class PlanCache:
    """The plan of the checkpoint before: the next one of its family most likely has the same."""

    def __init__(self) -> None:
        """Start empty."""
        self._key: object = None
        self._plan: ScoringPlan | None = None

    def get(
        self, requests: Sequence[TextRequest], opened: Sequence[OpenedRun], checkpoint: LoadedCheckpoint, tokenizer_hash: str
    ) -> ScoringPlan:
        """Return the plan of these requests for this tokenizer and window."""
        key = (tokenizer_hash, checkpoint.max_length, tuple(entry.run.task_id for entry in opened))
        if self._plan is None or key != self._key:
            encoder = Encoder(checkpoint.tokenizer, max_length=checkpoint.max_length)
            self._plan = make_plan(encoder.encode_requests(requests))
            self._key = key
        return self._plan


def score_checkpoint(
    checkpoint: LoadedCheckpoint,
    opened: Sequence[OpenedRun],
    plans: PlanCache,
    tokenizer_hash: str,
    settings: ScoringSettings,
    store: ResultStore,
    progress: Progress,
    *,
    name: str,
) -> dict[str, RunCounters]:
    """Score what is not stored yet of the runs of one plan; returns run id -> counters."""
    runs = [RunInProgress(entry, store) for entry in opened]
    owners = [(run, request) for run in runs for request in run.requests]
    plan = plans.get([request for _, request in owners], opened, checkpoint, tokenizer_hash)
    unknown = count_unknown(checkpoint.tokenizer, plan.tree.row_target)
    if unknown:
        progress.notice(
            f"{name}: {unknown:,} of {len(plan.tree.row_target):,} distinct scored tokens are unknown to the tokenizer "
            "and scored as such"
        )
    try:
        totals = _score_all(checkpoint, plan, owners, settings, progress, name)
    finally:
        # Interrupted or failed, what is finished is kept.
        for run in runs:
            run.flush()
    _report_cost(totals, settings, progress, name)
    results = _shares(runs, plan, owners, totals)
    for run_id, counters in results.items():
        store.close_run(run_id, RunStatus.COMPLETE, counters)
    return results


def _score_all(
    checkpoint: LoadedCheckpoint,
    plan: ScoringPlan,
    owners: Sequence[tuple[RunInProgress, TextRequest]],
    settings: ScoringSettings,
    progress: Progress,
    name: str,
) -> RunCounters:
    """Score the plan; a text request is whole when all its windows are. Returns the counters of everything together."""
    n_requests = len(owners)
    of_request = np.array([request.owner for request in plan.requests], dtype=np.int64)
    n_targets = np.array([len(request.targets) for request in plan.requests], dtype=np.int64)
    missing = np.bincount(of_request, minlength=n_requests)
    wanted = _wanted(plan, owners)
    entries, rows = plan.entries_of(wanted), plan.rows_of(wanted)
    sums = np.zeros(n_requests)
    counts = np.bincount(of_request, weights=n_targets, minlength=n_requests).astype(np.int64)
    greedy = np.ones(n_requests, dtype=np.bool_)
    computed, padded, flops = 0, 0, 0.0

    def name_request(index: int) -> str:
        run, request = owners[plan.requests[index].owner]
        return f"task '{run.task_name}', item {request.item_idx}, choice {request.choice_idx}"

    started = time.perf_counter()
    options = ScoringOptions(token_budget=settings.token_budget, deterministic=settings.deterministic)
    with progress.stage(name, int(entries.sum()), "tokens") as bar:
        for done in score_plan(
            checkpoint, plan, options, on_notice=_prefixed(progress, name), name_request=name_request, wanted=wanted
        ):
            texts = of_request[done.request]
            np.add.at(sums, texts, done.loglikelihood)
            np.logical_and.at(greedy, texts, done.is_greedy)
            np.subtract.at(missing, texts, 1)
            for text in np.unique(texts[missing[texts] == 0]).tolist():
                run, request = owners[text]
                run.add(request, float(sums[text]), int(counts[text]), bool(greedy[text]))
            computed += done.tokens_computed
            padded += done.tokens_padded
            flops += done.flops
            bar.advance(done.tokens_computed)
            bar.describe(f"{computed / (time.perf_counter() - started):,.0f} tokens/s")
    return RunCounters(
        tokens_requested=sum(len(request.inputs) for request, asked in zip(plan.requests, wanted, strict=True) if asked),
        tokens_unique=int(entries.sum()),
        tokens_computed=computed,
        tokens_padded=padded,
        seconds=time.perf_counter() - started,
        flops_done=flops,
        flops_bound=forward_cost(checkpoint.model, checkpoint.params_non_embedding).bound(plan.tree, entries, rows),
    )


def _wanted(plan: ScoringPlan, owners: Sequence[tuple[RunInProgress, TextRequest]]) -> NDArray[np.bool_]:
    """Which requests of the plan belong to items that are not stored yet."""
    wants = np.array([run.wants(request) for run, request in owners], dtype=np.bool_)
    return wants[np.array([request.owner for request in plan.requests], dtype=np.int64)]


def _report_cost(totals: RunCounters, settings: ScoringSettings, progress: Progress, name: str) -> None:
    """Say what was asked for, what of it was distinct, and how near the machine's product rate it was computed."""
    if not totals.seconds or not totals.flops_bound:
        return
    utilisation = totals.flops_done / totals.seconds / matmul_rate(settings.device, settings.dtype)
    progress.notice(
        f"{name}: {totals.tokens_requested:,} tokens asked for, {totals.tokens_unique:,} of them distinct, "
        f"{totals.tokens_computed:,} computed, {totals.tokens_padded:,} padded; "
        f"{totals.flops_done / totals.flops_bound:.2f} times the least FLOPs, {utilisation:.0%} of the measured product rate"
    )


def _prefixed(progress: Progress, name: str) -> Callable[[str], None]:
    return lambda text: progress.notice(f"{name}: {text}")


def _shares(
    runs: Sequence[RunInProgress],
    plan: ScoringPlan,
    owners: Sequence[tuple[RunInProgress, TextRequest]],
    totals: RunCounters,
) -> dict[str, RunCounters]:
    """Each run's part of a scoring that several tasks shared.

    By the distinct prefixes that it was the first to ask for; in a session that went on with some items, whose prefixes a
    finished item may have asked for first, by the tokens that it asked for.
    """
    number = {id(run): index for index, run in enumerate(runs)}
    run_of = np.array([number[id(owners[request.owner][0])] for request in plan.requests], dtype=np.int64)
    wanted = _wanted(plan, owners)
    tokens = np.where(wanted, [len(request.inputs) for request in plan.requests], 0)
    truncated = np.where(wanted, [request.n_truncated for request in plan.requests], 0)
    requested, cut = (np.bincount(run_of, weights=part, minlength=len(runs)) for part in (tokens, truncated))
    first = requested
    if totals.tokens_unique == plan.tokens_unique:
        lengths = np.diff(np.append(plan.tree.segment_start, len(plan.tree.token)))
        first = np.bincount(run_of[plan.tree.segment_request], weights=lengths, minlength=len(runs))
    shares = first / max(1.0, float(first.sum()))
    return {
        run.run.run_id: RunCounters(
            tokens_requested=int(requested[index]),
            tokens_unique=round(totals.tokens_unique * shares[index]),
            tokens_computed=round(totals.tokens_computed * shares[index]),
            tokens_padded=round(totals.tokens_padded * shares[index]),
            tokens_truncated=int(cut[index]),
            seconds=totals.seconds * shares[index],
            flops_done=totals.flops_done * shares[index],
            flops_bound=totals.flops_bound * shares[index],
        )
        for index, run in enumerate(runs)
        if run.is_missing
    }
