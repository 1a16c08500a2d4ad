"""Scores a plan with one loaded checkpoint: the packed way, checked against the plain way, or the plain way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from forecast.core.errors import CheckpointError
from forecast.scoring.checkpoint_loading import LoadedCheckpoint
from forecast.scoring.device_memory import is_out_of_memory, release_cached_memory
from forecast.scoring.flops import forward_cost
from forecast.scoring.packed_forward import PackedModel
from forecast.scoring.plain_forward import PlainInput, score_inputs
from forecast.scoring.plain_path import non_finite_error, score_plainly
from forecast.scoring.plan import ScoringPlan
from forecast.scoring.prefix_tree import IntArray
from forecast.scoring.requests import ScoredRequests
from forecast.scoring.tree_attention import UnsupportedAttentionError
from forecast.scoring.tree_batches import Batch, cut_batches

DEFAULT_TOKEN_BUDGET = {"cpu": 2048, "cuda": 8192}
"""Positions per forward pass; halved by itself where they do not fit the memory."""
CARRY_BYTES = 256 << 20
"""Keys and values carried from batch to batch may take this much; a longer prefix is computed again."""

TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.3}
"""Largest difference in nats of one request from the plain way, times the square root of its tokens (rounding adds up so)."""
_LARGEST_KEPT_BLOCK = (32 << 20) - 4096
"""glibc's DEFAULT_MMAP_THRESHOLD_MAX on 64-bit systems, less the block's own header."""
_CHECKED_REQUESTS = 4
_CHECKED_TOKENS = 512
"""The check of the fast way against the plain one takes this many requests and, after the first, this many tokens: a wrong mask
shows in any request, and more would only cost time."""


@dataclass(frozen=True, kw_only=True)
class ScoringOptions:
    """How to score; None lets the engine choose."""

    token_budget: int | None = None
    """Positions per forward pass."""
    deterministic: bool = False
    """Each distinct input alone in its forward pass: the same bits whatever else is scored."""


def score_plan(
    checkpoint: LoadedCheckpoint,
    plan: ScoringPlan,
    options: ScoringOptions,
    *,
    on_notice: Callable[[str], None],
    name_request: Callable[[int], str],
    wanted: NDArray[np.bool_] | None = None,
) -> Iterator[ScoredRequests]:
    """Yield finished requests as they come.

    Only `wanted` ones (all when None) are computed and yielded, with the bits that they get when all are: batches are cut
    from the whole plan, and those without a wanted request are left out.

    Raises:
        CheckpointError: a logit is NaN or infinite (the request is named), or a token is outside the vocabulary.
    """
    wanted = np.ones(len(plan.requests), dtype=np.bool_) if wanted is None else wanted
    if not wanted.any():
        return
    _check_vocabulary(checkpoint, plan)
    plainly = partial(score_plainly, checkpoint, plan, _budget(checkpoint, options), wanted=wanted, name_request=name_request)
    if options.deterministic:
        yield from plainly(alone=True)
        return
    any_done = False
    try:
        for done in _score_packed(checkpoint, plan, wanted, options, name_request):
            any_done = True
            yield done
    except UnsupportedAttentionError as reason:
        on_notice(f"scored the plain way, each input in full: {reason}")
        yield from plainly(alone=False)
    except torch.OutOfMemoryError as error:
        raise CheckpointError(
            f"scoring does not fit the memory of {checkpoint.device} even one position at a time",
            remedy="use a narrower `dtype=`, or `device_map=` auto on several GPUs",
        ) from error
    except RuntimeError as error:
        # The plain way would yield again what has been yielded; and a late failure is a defect, not a missing feature.
        if any_done:
            raise
        on_notice(f"scored the plain way, each input in full: the packed way failed ({' '.join(str(error).split())[:200]})")
        yield from plainly(alone=False)


def _budget(checkpoint: LoadedCheckpoint, options: ScoringOptions) -> int:
    return options.token_budget or DEFAULT_TOKEN_BUDGET["cuda" if checkpoint.device.startswith("cuda") else "cpu"]


def _check_vocabulary(checkpoint: LoadedCheckpoint, plan: ScoringPlan) -> None:
    rows = checkpoint.model.get_input_embeddings().weight.shape[0]
    largest = max(int(plan.tree.token.max()), int(plan.tree.row_target.max()))
    if largest >= rows:
        raise CheckpointError(
            f"the tokenizer gives token {largest}, and the model's embedding has {rows} rows",
            expected="the tokenizer that the model was trained with",
        )


def _score_packed(
    checkpoint: LoadedCheckpoint,
    plan: ScoringPlan,
    wanted: NDArray[np.bool_],
    options: ScoringOptions,
    name_request: Callable[[int], str],
) -> Iterator[ScoredRequests]:
    """The fast path. Nothing is yielded before the first finished requests agree with the plain way."""
    packed = PackedModel(checkpoint.model)
    if checkpoint.device == "cpu":
        _let_allocator_keep_blocks()
    cost = forward_cost(checkpoint.model, checkpoint.params_non_embedding)
    tree = plan.tree
    scores = np.zeros(len(tree.row_node))
    greedy = np.zeros(len(tree.row_node), dtype=np.bool_)
    finished, checked = 0, False
    computed, padded, flops = 0, 0, 0.0
    budget, carry_limit = _budget(checkpoint, options), _carry_limit(checkpoint)
    for batch in _batches_within_memory(packed, plan, wanted, budget, carry_limit, scores, greedy):
        rows = slice(batch.row_start, batch.row_stop)
        if not np.isfinite(scores[rows]).all():
            _fail_on(checkpoint, plan, batch, scores, name_request)
        appended = packed.padding(batch)
        computed += len(batch.tokens)
        padded += appended
        flops += cost.of_batch(batch) + cost.per_token * appended
        # A request is finished with the last of its rows; `completion` holds that row for each request, in this order.
        before, finished = finished, int(np.searchsorted(plan.completion, batch.row_stop))
        complete = plan.by_completion[before:finished]
        complete = complete[wanted[complete]]
        if not len(complete):
            continue
        done = _sum_requests(plan, complete, scores, greedy, computed, padded, flops)
        if not checked:
            _compare_with_plain(checkpoint, plan, done)
            checked = True
        computed, padded, flops = 0, 0, 0.0
        yield done


def _let_allocator_keep_blocks() -> None:
    """Free a block as large as glibc ever keeps: it then keeps freed activations instead of returning them to the system.

    glibc keeps blocks that are at most as large as the largest one freed so far. Without this, page faults take a sixth of
    the time at the 14M shape. Nothing is written, so the block costs no memory.
    """
    torch.empty(_LARGEST_KEPT_BLOCK, dtype=torch.uint8)


def _batches_within_memory(
    packed: PackedModel,
    plan: ScoringPlan,
    wanted: NDArray[np.bool_],
    budget: int,
    carry_limit: int,
    scores: NDArray[np.float64],
    greedy: NDArray[np.bool_],
) -> Iterator[Batch]:
    """Score batch after batch into the two arrays; out of memory halves the budget and goes on where it stopped."""
    start, total = 0, len(plan.tree.token)
    asked = None if wanted.all() else plan.rows_of(wanted)
    while start < total:
        # After a failure the carried keys and values may be half written: they are computed again from `start`.
        packed.forget()
        try:
            for batch in cut_batches(plan.tree, budget, carry_limit=carry_limit, start=start, rows=asked):
                rows = slice(batch.row_start, batch.row_stop)
                row_scores, row_greedy = packed.score_batch(batch, torch.from_numpy(plan.tree.row_target[rows]))
                scores[rows], greedy[rows] = row_scores.numpy(), row_greedy.numpy()
                start = batch.stop
                yield batch
            return
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not is_out_of_memory(error) or budget <= 1:
                raise
            budget //= 2
        # Outside the handler: the traceback would keep the failed batch's tensors alive.
        if start < total:
            release_cached_memory()


def _carry_limit(checkpoint: LoadedCheckpoint) -> int:
    """Entries whose keys and values fit into CARRY_BYTES."""
    config = checkpoint.model.config.get_text_config(decoder=True)
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    # 2: a key and a value.
    per_entry = 2 * config.num_hidden_layers * heads * size * checkpoint.model.get_input_embeddings().weight.element_size()
    return int(CARRY_BYTES // per_entry)


def _sum_requests(
    plan: ScoringPlan,
    requests: IntArray,
    scores: NDArray[np.float64],
    greedy: NDArray[np.bool_],
    computed: int,
    padded: int,
    flops: float,
) -> ScoredRequests:
    """A request's loglikelihood is the sum over its rows, its greediness that of all of them."""
    tree = plan.tree
    counts = tree.request_start[requests + 1] - tree.request_start[requests]
    edges = np.concatenate([[0], np.cumsum(counts)[:-1]])
    within = np.arange(counts.sum()) - np.repeat(edges, counts)
    rows = tree.request_row[np.repeat(tree.request_start[requests], counts) + within]
    by_token = scores[rows]
    return ScoredRequests(
        request=requests,
        loglikelihood=np.add.reduceat(by_token, edges),
        is_greedy=np.logical_and.reduceat(greedy[rows], edges),
        token_loglikelihood=by_token,
        tokens_computed=computed,
        tokens_padded=padded,
        flops=flops,
    )


def _compare_with_plain(checkpoint: LoadedCheckpoint, plan: ScoringPlan, done: ScoredRequests) -> None:
    """Score some of the first finished requests, the longest among them, one at a time with the untouched model."""
    # Long requests cross most batch borders and masks, so the longest is always among those checked.
    by_length = sorted(range(len(done.request)), key=lambda i: -len(plan.requests[done.request[i]].inputs))
    spread = by_length[:: max(1, len(by_length) // _CHECKED_REQUESTS)][:_CHECKED_REQUESTS]
    tokens = 0
    for i in spread:
        request = plan.requests[done.request[i]]
        tokens += len(request.inputs)
        if tokens > _CHECKED_TOKENS and i != spread[0]:
            break
        expected = float(score_inputs(checkpoint.model, [_as_plain(plan, int(done.request[i]))]).log_p.sum())
        difference = abs(expected - float(done.loglikelihood[i]))
        dtype = checkpoint.model.get_input_embeddings().weight.dtype
        allowed = TOLERANCE[dtype] * len(request.targets) ** 0.5
        # Not `>`: a NaN must fail the check.
        if not difference <= allowed:
            raise UnsupportedAttentionError(
                f"the packed way gave {done.loglikelihood[i]:.6g} and the plain way {expected:.6g} nats "
                f"(allowed difference {allowed:.2g}, model type '{checkpoint.architecture}')"
            )


def _fail_on(
    checkpoint: LoadedCheckpoint,
    plan: ScoringPlan,
    batch: Batch,
    scores: NDArray[np.float64],
    name_request: Callable[[int], str],
) -> None:
    """Name the request whose own logits are not finite: in a packed row a NaN spreads to its neighbours too."""
    bad = batch.row_start + np.flatnonzero(~np.isfinite(scores[batch.row_start : batch.row_stop]))
    positions = np.flatnonzero(np.isin(plan.tree.request_row, bad))
    suspects = np.unique(np.searchsorted(plan.tree.request_start, positions, side="right") - 1).tolist()
    for suspect in suspects:
        row = _as_plain(plan, suspect)
        if not bool(score_inputs(checkpoint.model, [row]).log_p.isfinite().all()):
            raise non_finite_error(name_request(suspect))
    raise non_finite_error(name_request(suspects[0]))


def _as_plain(plan: ScoringPlan, index: int) -> PlainInput:
    request = plan.requests[index]
    last = len(request.inputs)
    return PlainInput(
        inputs=request.inputs, position=tuple(range(last - len(request.targets), last)), target=tuple(request.targets)
    )
