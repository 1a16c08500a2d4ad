"""Pseudo-log-likelihoods: masked inputs in padded batches, the head only where a token is asked for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from forecast.core.errors import CheckpointError
from forecast.scoring.checkpoint_loading import LoadedCheckpoint
from forecast.scoring.engine import DEFAULT_TOKEN_BUDGET, TOLERANCE, ScoringOptions
from forecast.scoring.flops import ForwardCost, forward_cost
from forecast.scoring.masked_tokenization import MaskedRequest
from forecast.scoring.plain_path import non_finite_error

_LOGIT_BYTES = 256 << 20
"""Where the head cannot be narrowed to the scored rows, the logits of every position are written: this bounds them."""
_PADDING = 0.125
"""Largest share of padding that one row may have."""
_CHECKED_TOKENS = 4


@dataclass(frozen=True, kw_only=True)
class ScoredTokens:
    """One batch's scored tokens: the text request each belongs to, log p(token) in nats, and whether it was the argmax."""

    owner: NDArray[np.int64]
    loglikelihood: NDArray[np.float64]
    is_greedy: NDArray[np.bool_]
    tokens_computed: int
    tokens_padded: int
    tokens_asked: int
    """Positions that scoring each of these tokens alone would feed."""
    flops: float
    flops_bound: float
    """Without padding."""


@dataclass(frozen=True, kw_only=True)
class _Mode:
    """How batches may be made; found out on the checkpoint itself."""

    narrow: bool
    """The head is computed at scored positions only."""
    padded: bool
    """Inputs of different lengths may share a batch."""


class _Batch:
    """Distinct masked inputs, longest first, and the (row, position, target) triples asked of them."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, ...], int] = {}
        self.row: list[int] = []
        self.position: list[int] = []
        self.target: list[int] = []
        self.request: list[int] = []

    def ask(self, masked: tuple[int, ...], position: int, target: int, request: int) -> None:
        """Add one token; an input that is there already is not computed twice."""
        self.row.append(self.rows.setdefault(masked, len(self.rows)))
        self.position.append(position)
        self.target.append(target)
        self.request.append(request)

    @property
    def width(self) -> int:
        """Length of the longest input."""
        return len(next(iter(self.rows), ()))


def score_masked(
    checkpoint: LoadedCheckpoint,
    requests: Sequence[MaskedRequest],
    options: ScoringOptions,
    *,
    on_notice: Callable[[str], None],
    name_request: Callable[[int], str],
    wanted: NDArray[np.bool_] | None = None,
) -> Iterator[ScoredTokens]:
    """Yield scored tokens as they come, longest inputs first.

    Batches without a `wanted` request (all when None) are left out; the others stay as they are, unwanted requests included.

    Raises:
        CheckpointError: a logit is NaN or infinite (the request is named), or a token is outside the vocabulary.
    """
    wanted = np.ones(len(requests), dtype=np.bool_) if wanted is None else wanted
    if not wanted.any():
        return
    _check_vocabulary(checkpoint, requests)
    order = sorted(range(len(requests)), key=lambda i: (-len(requests[i].inputs), requests[i].inputs))
    mode = _Mode(narrow=False, padded=False) if options.deterministic else _find_mode(checkpoint, requests, order, on_notice)
    budget = options.token_budget or DEFAULT_TOKEN_BUDGET["cuda" if checkpoint.device.startswith("cuda") else "cpu"]
    if not mode.narrow:
        budget = max(1, min(budget, _LOGIT_BYTES // (4 * int(checkpoint.model.config.vocab_size))))
    cost = forward_cost(checkpoint.model, checkpoint.params_non_embedding)
    for batch in _batches(checkpoint, requests, order, mode, 1 if options.deterministic else budget):
        if not wanted[batch.request].any():
            continue
        scores, greedy = _score_halving(checkpoint, batch, mode)
        if not np.isfinite(scores).all():
            raise non_finite_error(name_request(requests[batch.request[int(np.flatnonzero(~np.isfinite(scores))[0])]].owner))
        yield _report(requests, batch, scores, greedy, cost)


def _report(
    requests: Sequence[MaskedRequest],
    batch: _Batch,
    scores: NDArray[np.float64],
    greedy: NDArray[np.bool_],
    cost: ForwardCost,
) -> ScoredTokens:
    computed = sum(map(len, batch.rows))
    cells = len(batch.rows) * batch.width
    heads = cost.per_scored * len(batch.row)
    return ScoredTokens(
        owner=np.array([requests[i].owner for i in batch.request], dtype=np.int64),
        loglikelihood=scores,
        is_greedy=greedy,
        tokens_computed=computed,
        tokens_padded=cells - computed,
        tokens_asked=sum(len(requests[i].inputs) for i in batch.request),
        flops=cost.per_token * cells + cost.per_pair * cells * batch.width + heads,
        flops_bound=cost.per_token * computed + cost.per_pair * sum(len(inputs) ** 2 for inputs in batch.rows) + heads,
    )


def _check_vocabulary(checkpoint: LoadedCheckpoint, requests: Sequence[MaskedRequest]) -> None:
    rows = checkpoint.model.get_input_embeddings().weight.shape[0]
    largest = max(int(checkpoint.tokenizer.mask_token_id), max(max(request.inputs) for request in requests))
    if largest >= rows:
        raise CheckpointError(
            f"the tokenizer gives token {largest}, and the model's embedding has {rows} rows",
            expected="the tokenizer that the model was trained with",
        )


def _batches(
    checkpoint: LoadedCheckpoint, requests: Sequence[MaskedRequest], order: Sequence[int], mode: _Mode, budget: int
) -> Iterator[_Batch]:
    """Cut the masked inputs into batches; choices that differ only in what is masked share one input."""
    batch = _Batch()
    for masked, position, target, index in _masked_inputs(checkpoint, requests, order):
        if batch.rows and masked not in batch.rows and not _fits(batch, len(masked), mode, budget):
            yield batch
            batch = _Batch()
        batch.ask(masked, position, target, index)
    if batch.rows:
        yield batch


def _masked_inputs(
    checkpoint: LoadedCheckpoint, requests: Sequence[MaskedRequest], order: Iterable[int]
) -> Iterator[tuple[tuple[int, ...], int, int, int]]:
    """(masked input, position, token there, request), made on the fly: all at once would be far larger than the texts."""
    mask = int(checkpoint.tokenizer.mask_token_id)
    for index in order:
        request = requests[index]
        for position, end in zip(request.scored, request.word_end, strict=True):
            masked = request.inputs[:position] + (mask,) * (end - position) + request.inputs[end:]
            yield masked, position, request.inputs[position], index


def _fits(batch: _Batch, length: int, mode: _Mode, budget: int) -> bool:
    shortest = (1 - _PADDING) * batch.width if mode.padded else batch.width
    return length >= shortest and (len(batch.rows) + 1) * batch.width <= budget


def _score_halving(checkpoint: LoadedCheckpoint, batch: _Batch, mode: _Mode) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Score a batch; where memory runs out, its halves."""
    try:
        return _score(checkpoint, batch, mode)
    except torch.OutOfMemoryError:
        if len(batch.rows) == 1:
            raise
    scores, greedy = np.zeros(len(batch.row)), np.zeros(len(batch.row), dtype=np.bool_)
    inputs, middle = list(batch.rows), len(batch.rows) // 2
    for first_half in (True, False):
        half, members = _Batch(), [k for k, row in enumerate(batch.row) if (row < middle) == first_half]
        for k in sorted(members, key=lambda k: batch.row[k]):
            half.ask(inputs[batch.row[k]], batch.position[k], batch.target[k], batch.request[k])
        at = sorted(members, key=lambda k: batch.row[k])
        scores[at], greedy[at] = _score_halving(checkpoint, half, mode)
    return scores, greedy


@torch.inference_mode()
def _score(checkpoint: LoadedCheckpoint, batch: _Batch, mode: _Mode) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return log p(target) in nats, and whether the target was the argmax."""
    model = checkpoint.model
    device = model.get_input_embeddings().weight.device
    padding = next(
        (int(token) for token in (model.config.pad_token_id, checkpoint.tokenizer.pad_token_id) if token is not None), 0
    )
    tokens_BxT = torch.full((len(batch.rows), batch.width), padding, dtype=torch.long)
    visible_BxT = torch.zeros_like(tokens_BxT)
    for i, inputs in enumerate(batch.rows):
        tokens_BxT[i, : len(inputs)] = torch.tensor(inputs)
        visible_BxT[i, : len(inputs)] = 1
    row_P, position_P = torch.tensor(batch.row, device=device), torch.tensor(batch.position, device=device)
    given: dict[str, torch.Tensor] = {"attention_mask": visible_BxT.to(device)} if _takes_mask(model) else {}
    if mode.narrow:
        logits_PxV = _narrowed(model, tokens_BxT.to(device), given, row_P, position_P)
    else:
        logits_PxV = model(input_ids=tokens_BxT.to(device), **given).logits[row_P, position_P]
    wide_PxV = logits_PxV if logits_PxV.dtype == torch.float64 else logits_PxV.float()
    target_P = torch.tensor(batch.target, device=device)
    at_target_P = wide_PxV.gather(1, target_P[:, None])[:, 0].double() - wide_PxV.logsumexp(-1).double()
    return at_target_P.cpu().numpy(), (wide_PxV.argmax(-1) == target_P).cpu().numpy()


def _narrowed(
    model: Any, tokens_BxT: torch.Tensor, given: dict[str, torch.Tensor], row_P: torch.Tensor, position_P: torch.Tensor
) -> torch.Tensor:
    """Logits (P, V): the trunk's output is cut to the scored rows before the head, which works on each position alone."""

    def keep_scored(_module: Any, _args: Any, output: Any) -> Any:
        hidden_1xPxH = output[0][row_P, position_P][None]
        if isinstance(output, tuple):
            return (hidden_1xPxH, *output[1:])
        output.last_hidden_state = hidden_1xPxH
        return output

    handle = model.base_model.register_forward_hook(keep_scored)
    try:
        logits: torch.Tensor = model(input_ids=tokens_BxT, **given).logits
    finally:
        handle.remove()
    return logits[0]


def _takes_mask(model: Any) -> bool:
    return "attention_mask" in inspect.signature(model.forward).parameters


def _find_mode(
    checkpoint: LoadedCheckpoint, requests: Sequence[MaskedRequest], order: Sequence[int], on_notice: Callable[[str], None]
) -> _Mode:
    """The fastest way of batching that gives what one input at a time gives, on the longest and the shortest request."""
    picked = [_first_tokens(requests[i]) for i in (order[0], order[len(order) // 2], order[-1])]
    probe = _Batch()
    for masked, position, target, index in _masked_inputs(checkpoint, picked, range(len(picked))):
        probe.ask(masked, position, target, index)
    expected = np.concatenate([_score(checkpoint, one, _ONE_BY_ONE)[0] for one in _singles(probe)])
    if not np.isfinite(expected).all():
        return _ONE_BY_ONE  # Scoring will name the request.
    dtype = checkpoint.model.get_input_embeddings().weight.dtype
    by_row = sorted(range(len(probe.row)), key=lambda k: probe.row[k])
    for mode in (_Mode(narrow=True, padded=True), _Mode(narrow=False, padded=True), _Mode(narrow=True, padded=False)):
        if mode.padded and not _takes_mask(checkpoint.model):
            continue
        parts = [probe] if mode.padded else list(_singles(probe))
        try:
            found = np.concatenate([_score(checkpoint, part, mode)[0] for part in parts])
        except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
            continue  # A trunk that returns something else, or a head that is not position by position.
        found = found[by_row] if mode.padded else found
        if found.shape == expected.shape and np.abs(found - expected).max() <= TOLERANCE[dtype]:
            return mode
    on_notice(f"scored one length at a time: padding or a narrowed head changes what '{checkpoint.architecture}' computes")
    return _ONE_BY_ONE


_ONE_BY_ONE = _Mode(narrow=False, padded=False)


def _first_tokens(request: MaskedRequest) -> MaskedRequest:
    return MaskedRequest(
        owner=request.owner,
        inputs=request.inputs,
        scored=request.scored[:_CHECKED_TOKENS],
        word_end=request.word_end[:_CHECKED_TOKENS],
    )


def _singles(batch: _Batch) -> Iterator[_Batch]:
    """Each input alone, in row order."""
    for row, inputs in enumerate(batch.rows):
        single = _Batch()
        for k in (k for k, owner in enumerate(batch.row) if owner == row):
            single.ask(inputs, batch.position[k], batch.target[k], batch.request[k])
        yield single
