"""Attention over a packed prefix tree, plugged into transformers' own layers through its attention interface.

The layers project, rotate and mix as always; only the product of queries, keys and values is ours. On the CPU it is a sum of
causal, dense and small masked products joined by their log-sum-exp; elsewhere FlexAttention with the tree as its mask.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from transformers import AttentionInterface

from forecast.scoring.attention_products import Product, additive, equally_wide, product_for
from forecast.scoring.tree_batches import Batch

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

IMPLEMENTATION = "forecast_tree"


class UnsupportedAttentionError(Exception):
    """The layer asks for something that the packed form does not have (position bias, sinks, encoder attention)."""


class TreeState:
    """What attention must know of one batch, and the keys and values that pass from batch to batch."""

    def __init__(self, batch: Batch, carried: dict[int, tuple[torch.Tensor, torch.Tensor]], device: torch.device) -> None:
        self.batch = batch
        self.device = device
        self.kept: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.calls = 0
        self.windows: set[int] = set()
        self._carried = carried
        self._kept_index: dict[torch.device, torch.Tensor] = {}
        self._masks: dict[tuple[str, int, int | None], torch.Tensor | None] = {}
        self._tree_masks: dict[tuple[int | None, torch.device], BlockMask] = {}
        self.deepest = int(batch.key_depth.max())

    @cached_property
    def _depth(self) -> torch.Tensor:
        return torch.from_numpy(self.batch.key_depth).to(self.device)

    @cached_property
    def groups(self) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Queries, keys, mask and valid queries of each group of blocks; a device that masks by tree needs none of them."""
        return [
            (
                torch.from_numpy(group.query_BxQ).to(self.device),
                torch.from_numpy(group.key_BxK).to(self.device),
                torch.from_numpy(group.allowed_BxQxK).to(self.device),
                torch.from_numpy(group.valid_BxQ.reshape(-1).nonzero()[0]).to(self.device),
            )
            for group in self.batch.blocks
        ]

    def extend(self, layer: int, key_1xHxTxD: torch.Tensor, value_1xHxTxD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Put the carried keys and values before the batch's own, and keep what the next batch needs."""
        self.calls += 1
        if self.batch.carried:
            before_key, before_value = self._carried[layer]
            key_1xHxTxD = torch.cat([before_key, key_1xHxTxD], dim=2)
            value_1xHxTxD = torch.cat([before_value, value_1xHxTxD], dim=2)
        if len(self.batch.kept):
            # A model that is spread over devices has layers on each of them.
            device = key_1xHxTxD.device
            if device not in self._kept_index:
                self._kept_index[device] = torch.from_numpy(self.batch.kept).to(device)
            index = self._kept_index[device]
            self.kept[layer] = (key_1xHxTxD.index_select(2, index), value_1xHxTxD.index_select(2, index))
        return key_1xHxTxD, value_1xHxTxD

    def tree_mask(self, window: int | None, device: torch.device) -> BlockMask:
        """The whole batch's mask for FlexAttention, made once for all layers and freed with the batch."""
        from forecast.scoring.flex_tree import tree_mask

        if (window, device) not in self._tree_masks:
            self._tree_masks[window, device] = tree_mask(self.batch, window, device)
        return self._tree_masks[window, device]

    def within(self, window: int | None) -> int | None:
        """The sliding window where it hides anything in this batch, else None."""
        if window is not None:
            self.windows.add(window)
        return window if window is not None and self.deepest >= window else None

    def block_mask(self, index: int, window: int | None, dtype: torch.dtype) -> torch.Tensor:
        """Additive mask (B, 1, Q, K) of a group of blocks."""
        name = ("block", index, window)
        if name not in self._masks:
            query_BxQ, key_BxK, allowed_BxQxK, _ = self.groups[index]
            if window is not None:
                distance = self._depth[query_BxQ + self.batch.carried][:, :, None] - self._depth[key_BxK][:, None, :]
                allowed_BxQxK = allowed_BxQxK & (distance < window)
            self._masks[name] = additive(allowed_BxQxK, dtype)[:, None]
        mask_Bx1xQxK = self._masks[name]
        assert mask_Bx1xQxK is not None
        return mask_Bx1xQxK

    def range_mask(self, index: int, window: int | None, dtype: torch.dtype) -> torch.Tensor:
        """Additive mask (1, 1, Q, K) of a masked product over ranges."""
        name = ("range", index, window)
        if name not in self._masks:
            product = self.batch.masked[index]
            allowed_QxK = torch.from_numpy(product.allowed_QxK).to(self.device)
            if window is not None:
                carried = self.batch.carried
                query = self._depth[product.query_start + carried : product.query_stop + carried]
                key = self._depth[product.key_start : product.query_stop + carried]
                allowed_QxK = allowed_QxK & (query[:, None] - key[None, :] < window)
            self._masks[name] = additive(allowed_QxK, dtype)[None, None]
        mask_1x1xQxK = self._masks[name]
        assert mask_1x1xQxK is not None
        return mask_1x1xQxK

    def window_mask(self, kind: str, index: int, window: int | None, dtype: torch.dtype) -> torch.Tensor | None:
        """Additive mask (1, 1, Q, K) of a causal or dense product where the window hides some of it, else None."""
        if window is None:
            return None
        name = (kind, index, window)
        if name not in self._masks:
            carried = self.batch.carried
            if kind == "causal":
                start, stop = self.batch.causal[index]
                key = torch.arange(start + carried, stop + carried, device=self.device)
                query = key
            else:
                product = self.batch.dense[index]
                key = torch.from_numpy(product.key).to(self.device)
                query = torch.arange(product.query_start, product.query_stop, device=self.device) + carried
            distance = self._depth[query][:, None] - self._depth[key][None, :]
            hidden = (distance >= window) | (distance < 0)
            # A causal product with a mask loses the kernel's own causality, so the mask must always be given there.
            needed = kind == "causal" or bool(hidden.any())
            self._masks[name] = additive(~hidden, dtype)[None, None] if needed else None
        return self._masks[name]


_active: ContextVar[TreeState | None] = ContextVar("forecast_tree_state", default=None)


@contextmanager
def tree_state(state: TreeState) -> Iterator[TreeState]:
    """Make a batch's tree the one that the layers attend over."""
    token = _active.set(state)
    try:
        yield state
    finally:
        _active.reset(token)


def tree_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,  # noqa: ARG001 - the interface passes it; scoring never drops
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of one layer on packed (1, H, T, D) tensors; the signature is that of transformers' interface."""
    state = _active.get()
    asked = [name for name in ("position_bias", "s_aux", "cache") if kwargs.get(name) is not None]
    # Whatever the packed form cannot represent is refused: a term left out would give plausible, wrong numbers.
    if state is None or attention_mask is not None or asked or query.shape[0] != 1 or query.shape[2] != key.shape[2]:
        raise UnsupportedAttentionError(f"{type(module).__name__} with {asked or 'a mask or a batch of its own'}")
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    key, value = state.extend(layer_index(module), key, value)
    window = state.within(kwargs.get("sliding_window"))
    softcap = kwargs.get("softcap")
    size = value.shape[-1]
    query, key, value = equally_wide(query, key, value)
    if query.device.type == "cpu":
        return _joined_products(state, query, key, value, scale, window, softcap)[None, ..., :size], None
    return _flex(state, query, key, value, scale, window, softcap).transpose(1, 2)[..., :size], None


def layer_index(module: torch.nn.Module) -> int:
    """Return which layer an attention module belongs to.

    Raises:
        UnsupportedAttentionError: it does not say.
    """
    index = getattr(module, "layer_idx", None)
    if not isinstance(index, int):
        raise UnsupportedAttentionError(f"{type(module).__name__} does not say which layer it is")
    return index


def _joined_products(
    state: TreeState,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    """Each query's attention as parts over disjoint keys, joined exactly.

    With part outputs o_i and log-sum-exps l_i the whole is sum_i exp(l_i - l) o_i, l = log sum_i exp(l_i).
    """
    _, heads, n_tokens, _ = query.shape
    group = heads // key.shape[1]
    if group > 1:
        # Grouped-query attention: the CPU kernel wants as many key heads as query heads.
        key, value = key.repeat_interleave(group, dim=1), value.repeat_interleave(group, dim=1)
    product = product_for(query.device, softcap)
    carried = state.batch.carried
    out_TxHxD = torch.empty((n_tokens, heads, value.shape[-1]), dtype=query.dtype)
    out_TxHxD[len(state.batch.tokens) :] = 0.0  # appended positions
    # Masks and weights are wide: -1e9 has no place in float16.
    dtype = torch.float64 if query.dtype == torch.float64 else torch.float32
    weight_TxH = torch.empty((n_tokens, heads), dtype=dtype)
    # Blocks, causal ranges and masked products own their queries, so the first three loops assign; the order does not matter.
    for index, (query_BxQ, key_BxK, _, valid) in enumerate(state.groups):
        mask = state.block_mask(index, window, dtype)
        part, weight = product(_gather(query, query_BxQ), _gather(key, key_BxK), _gather(value, key_BxK), mask, scale, False)
        rows = query_BxQ.reshape(-1)[valid]
        out_TxHxD[rows] = part.transpose(1, 2).reshape(-1, heads, value.shape[-1])[valid]
        weight_TxH[rows] = weight.transpose(1, 2).reshape(-1, heads)[valid]
    for index, (start, stop) in enumerate(state.batch.causal):
        mask_or_none = state.window_mask("causal", index, window, dtype)
        keys = slice(start + carried, stop + carried)
        part, weight = product(
            query[:, :, start:stop], key[:, :, keys], value[:, :, keys], mask_or_none, scale, mask_or_none is None
        )
        out_TxHxD[start:stop] = part[0].transpose(0, 1)
        weight_TxH[start:stop] = weight[0].T
    for index, masked in enumerate(state.batch.masked):
        start, stop = masked.query_start, masked.query_stop
        keys = slice(masked.key_start, stop + carried)
        mask = state.range_mask(index, window, dtype)
        part, weight = product(query[:, :, start:stop], key[:, :, keys], value[:, :, keys], mask, scale, False)
        out_TxHxD[start:stop] = part[0].transpose(0, 1)
        weight_TxH[start:stop] = weight[0].T
    # Dense products add keys to queries that have a part already: they come last.
    _join_dense(state, product, (query, key, value), (out_TxHxD, weight_TxH), scale, window)
    return out_TxHxD


def _join_dense(
    state: TreeState,
    product: Product,
    inputs: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    joined: tuple[torch.Tensor, torch.Tensor],
    scale: float,
    window: int | None,
) -> None:
    """Join the products over the prefixes that whole ranges of queries see, in place."""
    query, key, value = inputs
    out_TxHxD, weight_TxH = joined
    for index, dense in enumerate(state.batch.dense):
        start, stop = dense.query_start, dense.query_stop
        # A view where the keys are one range.
        first, last = int(dense.key[0]), int(dense.key[-1])
        if last - first + 1 == len(dense.key):
            keys_, values_ = key[:, :, first : last + 1], value[:, :, first : last + 1]
        else:
            at = torch.from_numpy(dense.key)
            keys_, values_ = key.index_select(2, at), value.index_select(2, at)
        mask_or_none = state.window_mask("dense", index, window, weight_TxH.dtype)
        part, weight = product(query[:, :, start:stop], keys_, values_, mask_or_none, scale, False)
        before, added = weight_TxH[start:stop], weight[0].T
        # exp(added) / (exp(before) + exp(added)), which cannot overflow in this form.
        share = torch.sigmoid(added - before).to(query.dtype)
        out_TxHxD[start:stop].lerp_(part[0].transpose(0, 1), share[:, :, None])
        weight_TxH[start:stop] = torch.logaddexp(before, added)


def _gather(tensor_1xHxTxD: torch.Tensor, index_BxN: torch.Tensor) -> torch.Tensor:
    """(B, H, N, D): entries of each block."""
    flat = tensor_1xHxTxD[0].index_select(1, index_BxN.reshape(-1))
    return flat.view(flat.shape[0], *index_BxN.shape, flat.shape[-1]).transpose(0, 1)


def _flex(
    state: TreeState,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    from forecast.scoring.flex_tree import NARROWEST, flex_tree_attention

    size = query.shape[-1]
    if size < NARROWEST:
        query, key, value = (torch.nn.functional.pad(tensor, (0, NARROWEST - size)) for tensor in (query, key, value))
    mask = state.tree_mask(window, query.device)
    return flex_tree_attention(mask, query, key, value, scale=scale, softcap=softcap)[..., :size]


AttentionInterface.register(IMPLEMENTATION, tree_attention)
