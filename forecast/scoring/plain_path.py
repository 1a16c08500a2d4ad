"""Scores a whole plan with the plain forward pass: for architectures that cannot be packed, and for bit-equal results."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from forecast.core.errors import CheckpointError
from forecast.scoring.checkpoint_loading import LoadedCheckpoint
from forecast.scoring.cpu_products import fast_products, replaceable
from forecast.scoring.flops import forward_cost
from forecast.scoring.plain_forward import PlainInput, PlainScores, score_inputs
from forecast.scoring.plan import ScoringPlan
from forecast.scoring.requests import ScoredRequests

_LOGIT_BYTES = 256 << 20
"""The plain pass may write the logits of every position: this bounds them."""
_PADDING = 0.125
"""Largest share of padding in a batch."""


def score_plainly(
    checkpoint: LoadedCheckpoint,
    plan: ScoringPlan,
    token_budget: int,
    *,
    alone: bool,
    wanted: NDArray[np.bool_],
    name_request: Callable[[int], str],
) -> Iterator[ScoredRequests]:
    """Yield finished requests, longest inputs first; equal inputs are computed once.

    Args:
        checkpoint: the model.
        plan: what to score.
        token_budget: positions per forward pass.
        alone: one input per forward pass, so that its bits do not depend on its neighbours.
        wanted: which requests are computed and yielded; a batch without any is left out, the others stay as they are.
        name_request: how to name a request in an error.

    Raises:
        CheckpointError: a logit is NaN or infinite.
    """
    cost = forward_cost(checkpoint.model, checkpoint.params_non_embedding)
    vocabulary = checkpoint.model.get_input_embeddings().weight.shape[0]
    budget = max(1, min(token_budget, _LOGIT_BYTES // (4 * vocabulary)))
    by_input: dict[tuple[int, ...], list[int]] = {}
    for index, request in enumerate(plan.requests):
        by_input.setdefault(tuple(request.inputs), []).append(index)
    waiting = sorted(by_input, key=lambda inputs: (-len(inputs), inputs))
    products = replaceable(checkpoint.model)
    while waiting:
        size = 1 if alone else _batch_size(waiting, budget)
        batch = waiting[:size]
        if not any(wanted[index] for inputs in batch for index in by_input[inputs]):
            del waiting[:size]
            continue
        rows = [_ask(plan, inputs, by_input[inputs]) for inputs in batch]
        try:
            with fast_products(products):
                plain = score_inputs(checkpoint.model, rows, every_logit=alone)
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            budget = max(1, budget // 2)
            continue
        del waiting[:size]
        owners = [index for inputs in batch for index in by_input[inputs]]
        flops = cost.of_padded(len(batch), len(batch[0]), plain.logits)
        yield _scored(plan, owners, plain, wanted, name_request, sum(len(inputs) for inputs in batch), flops)


def _scored(
    plan: ScoringPlan,
    owners: list[int],
    plain: PlainScores,
    wanted: NDArray[np.bool_],
    name_request: Callable[[int], str],
    tokens: int,
    flops: float,
) -> ScoredRequests:
    """Sum each request's targets, which stand one after the other in `plain`, in the order of `owners`."""
    counts = np.array([len(plan.requests[index].targets) for index in owners])
    edges = np.concatenate([[0], np.cumsum(counts)[:-1]])
    by_token = plain.log_p.numpy()
    sums = np.add.reduceat(by_token, edges)
    if not np.isfinite(sums).all():
        worst = owners[int(np.flatnonzero(~np.isfinite(sums))[0])]
        raise non_finite_error(name_request(worst))
    asked = wanted[owners]
    return ScoredRequests(
        request=np.array(owners, dtype=np.int64)[asked],
        loglikelihood=sums[asked],
        is_greedy=np.logical_and.reduceat(plain.greedy.numpy(), edges)[asked],
        token_loglikelihood=by_token[np.repeat(asked, counts)],
        tokens_computed=tokens,
        tokens_padded=plain.padded,
        flops=flops,
    )


def non_finite_error(name: str) -> CheckpointError:
    """The error for a loglikelihood that is not a number."""
    return CheckpointError(
        f"a logit is NaN or infinite at {name}",
        expected="finite numbers",
        remedy="the weights are damaged, or the data type is too narrow for them (try `dtype=` float32)",
    )


def _batch_size(waiting: list[tuple[int, ...]], budget: int) -> int:
    """Inputs from the front of the list (longest first) that fit the budget with little padding."""
    width, size, filled = len(waiting[0]), 1, len(waiting[0])
    while size < len(waiting) and (size + 1) * width <= budget:
        filled += len(waiting[size])
        if filled < (1 - _PADDING) * (size + 1) * width:
            break
        size += 1
    return size


def _ask(plan: ScoringPlan, inputs: tuple[int, ...], owners: list[int]) -> PlainInput:
    position: list[int] = []
    target: list[int] = []
    for index in owners:
        targets = plan.requests[index].targets
        position.extend(range(len(inputs) - len(targets), len(inputs)))
        target.extend(targets)
    return PlainInput(inputs=inputs, position=tuple(position), target=tuple(target))
