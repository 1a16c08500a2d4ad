"""Attention of answers that are being written: a shared header once for all rows, and each row's own keys and values.

Plugged into transformers' own layers through its attention interface, as scoring's tree attention is: the layers project and
rotate as always. Queries of all rows look at the header in one product; what they find there and in their own row is joined by
its log-sum-exp, exactly. Keys and values are written into buffers of fixed size, so that no step copies what is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from transformers import AttentionInterface

from forecast.scoring.attention_products import additive, equally_wide, product_for
from forecast.scoring.tree_attention import UnsupportedAttentionError, layer_index

IMPLEMENTATION = "forecast_decode"
KeysValues = tuple[torch.Tensor, torch.Tensor]


class DecodeState:
    """Keys and values of rows that share a header; rows leave when they are finished."""

    def __init__(self, header: dict[int, KeysValues], header_length: int, rows: int, capacity: int) -> None:
        """Start with no row written.

        Args:
            header: layer -> (1, H, L, D) keys and values of the header, from `DecodeState.own` of a state of one row.
            header_length: L.
            rows: answers written side by side.
            capacity: tokens that a row may have of its own, its prompt's and its answer's.
        """
        self.header_length = header_length
        self.rows = rows
        self.calls = 0
        self.windows: set[int] = set()
        self._header = header
        self._capacity = capacity
        self._keys: dict[int, torch.Tensor] = {}
        self._values: dict[int, torch.Tensor] = {}
        self._lengths = torch.zeros(rows, dtype=torch.long)
        self._step = 0
        self._top = 0
        self._masks: dict[tuple[int | None, bool], torch.Tensor | None] = {}

    def begin(self, lengths: torch.Tensor, step: int) -> None:
        """Prepare a forward pass: `lengths` (rows,) own tokens that are there, `step` more come for each row.

        Where `step` is more than 1, all rows have the same length.
        """
        self._lengths, self._step = lengths, step
        self._top = int(lengths.max()) + step
        self._masks = {}

    def keep(self, rows: torch.Tensor) -> None:
        """Keep only some rows, in a new order."""
        for store in (self._keys, self._values):
            for layer, tensor in store.items():
                store[layer] = tensor[: self.rows].index_select(0, rows.to(tensor.device))
        self.rows = len(rows)

    def repeat(self, times: torch.Tensor) -> None:
        """Repeat each row as often as `times` (rows,) says: several answers to one prompt."""
        self.keep(torch.repeat_interleave(torch.arange(self.rows), times))

    def own(self, length: int) -> dict[int, KeysValues]:
        """Keys and values of the first row: a header for other states."""
        return {
            layer: (keys[:1, :, :length].contiguous(), self._values[layer][:1, :, :length].contiguous())
            for layer, keys in self._keys.items()
        }

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        scale: float,
        window: int | None,
        softcap: float | None,
    ) -> torch.Tensor:
        """Write the new keys and values, and return (B, H, T, D): each query looks at the header, its row, and itself."""
        self.calls += 1
        if window is not None:
            self.windows.add(window)
        keys, values = self._write(layer, key, value)
        batch, heads, step, size = query.shape
        groups = heads // key.shape[1]
        # Grouped-query attention: the queries of a group stand one below the other, so that no key is repeated.
        grouped = query.view(batch, -1, groups, step, size)
        product = product_for(query.device, softcap)
        own_query = grouped.reshape(batch, -1, groups * step, size)
        out, weight = product(own_query, keys, values, self._own_mask(window, groups, query), scale, False)
        if self.header_length:
            shared_query = grouped.permute(1, 2, 0, 3, 4).reshape(1, -1, groups * batch * step, size)
            shared_key, shared_value = self._header[layer]
            mask = self._header_mask(window, groups, query)
            part, mass = product(shared_query, shared_key, shared_value, mask, scale, False)
            out, weight = _joined(out, weight, _by_row(part, batch, groups, step), _by_row(mass, batch, groups, step))
        return out.view(batch, -1, groups, step, out.shape[-1]).reshape(batch, heads, step, -1).to(query.dtype)

    def _write(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> KeysValues:
        if layer not in self._keys:
            for store, tensor in ((self._keys, key), (self._values, value)):
                store[layer] = tensor.new_zeros((self.rows, tensor.shape[1], self._capacity, tensor.shape[3]))
        for store, tensor in ((self._keys, key), (self._values, value)):
            if self._step == 1:
                store[layer][torch.arange(self.rows), :, self._lengths.to(tensor.device)] = tensor[:, :, 0]
            else:
                # Prompts are read side by side; what a shorter one has at its end is overwritten by its answer.
                start = int(self._lengths[0])
                store[layer][:, :, start : start + self._step] = tensor
        return self._keys[layer][:, :, : self._top], self._values[layer][:, :, : self._top]

    def _own_mask(self, window: int | None, groups: int, like: torch.Tensor) -> torch.Tensor:
        """(B, 1, G T, S): what is there before a query and the query itself, within the window."""
        found = self._masks.get((window, False))
        if found is None:
            place = self._lengths[:, None] + torch.arange(self._step)[None]
            distance = place[:, :, None] - torch.arange(self._top)
            allowed = distance >= 0
            if window is not None:
                allowed &= distance < window
            found = additive(allowed.repeat(1, groups, 1)[:, None].to(like.device), like.dtype)
            self._masks[window, False] = found
        return found

    def _header_mask(self, window: int | None, groups: int, like: torch.Tensor) -> torch.Tensor | None:
        """(1, 1, G B T, L) where a window hides some of the header, else None."""
        deepest = self.header_length + int(self._lengths.max()) + self._step
        if window is None or deepest <= window:
            return None
        found = self._masks.get((window, True))
        if found is None:
            place = self.header_length + (self._lengths[:, None] + torch.arange(self._step)[None]).reshape(-1)
            allowed = place[:, None] - torch.arange(self.header_length) < window
            found = additive(allowed.repeat(groups, 1)[None, None].to(like.device), like.dtype)
            self._masks[window, True] = found
        return found


def _by_row(shared: torch.Tensor, batch: int, groups: int, step: int) -> torch.Tensor:
    """(1, H, G B T, ...) to (B, H, G T, ...)."""
    tail = shared.shape[3:]
    rows = shared.view(shared.shape[1], groups, batch, step, *tail).transpose(0, 2).transpose(1, 2)
    return rows.reshape(batch, shared.shape[1], groups * step, *tail)


def _joined(
    out: torch.Tensor, weight: torch.Tensor, other: torch.Tensor, other_weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Two softmax averages over disjoint keys as the one over all of them."""
    total = torch.logaddexp(weight, other_weight)
    share, other_share = (torch.exp(part - total)[..., None] for part in (weight, other_weight))
    return out * share + other * other_share, total


_active: ContextVar[DecodeState | None] = ContextVar("forecast_decode_state", default=None)


@contextmanager
def decoding(state: DecodeState) -> Iterator[None]:
    """Let the attention of a forward pass use a state."""
    token = _active.set(state)
    try:
        yield
    finally:
        _active.reset(token)


def decode_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,  # noqa: ARG001 - the interface passes it; nothing is dropped here
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of one layer; the signature is that of transformers' interface."""
    state = _active.get()
    asked = [name for name in ("position_bias", "s_aux", "cache") if kwargs.get(name) is not None]
    if state is None or attention_mask is not None or asked or query.shape[0] != state.rows or query.shape[2] != key.shape[2]:
        raise UnsupportedAttentionError(f"{type(module).__name__} with {asked or 'a mask or a batch of its own'}")
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    size = value.shape[-1]
    query, key, value = equally_wide(query, key, value)
    out = state.attend(
        layer_index(module),
        query,
        key,
        value,
        scale=scale,
        window=kwargs.get("sliding_window"),
        softcap=kwargs.get("softcap"),
    )
    return out[..., :size].transpose(1, 2), None


AttentionInterface.register(IMPLEMENTATION, decode_attention)
