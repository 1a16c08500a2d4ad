"""Tree attention by FlexAttention: one compiled kernel per layer, the tree as its mask. For CUDA devices.

Three things keep compiled graphs few, for the compiler gives up after some: what differs from batch to batch lies in tensors
and never in a closure's numbers, models of different shapes have compiled functions of their own, and a sliding window is not a
mask of its own but a least depth that each query may look back to. Running out of graphs is an error, never a slow way taken
silently.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import lru_cache
from types import FunctionType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from forecast.scoring.tree_batches import Batch

BLOCK = 128
"""Edge of the mask's blocks, FlexAttention's own default."""
NARROWEST = 16
"""Least head size that the compiled kernels take; narrower heads are filled with zeros."""
Kind = tuple[torch.device, torch.dtype, int, int, int, float | None]
"""Device, data type, query heads, key heads, head size and soft cap: what a graph is specialised on."""
_copies = itertools.count()


def flex_tree_attention(
    mask: BlockMask,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scale: float,
    softcap: float | None,
) -> torch.Tensor:
    """Return (1, H, T, D) attention through a mask of `tree_mask`; scores are capped at `softcap` where that is given."""
    attend = _attend
    if query.device.type == "cuda":
        attend = compiled((query.device, query.dtype, query.shape[1], key.shape[1], query.shape[3], softcap))
    # As a tensor: a number in the closure would become a scalar that the compiler cannot lower.
    cap = None if softcap is None else torch.tensor(softcap, dtype=torch.float32, device=query.device)
    return attend(query, key, value, mask, cap, scale)


def _attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: BlockMask, cap: torch.Tensor | None, scale: float
) -> torch.Tensor:
    def capped(score: torch.Tensor, _b: Any, _h: Any, _q: Any, _k: Any) -> torch.Tensor:
        assert cap is not None
        return cap * torch.tanh(score / cap)

    out: torch.Tensor = flex_attention(
        query,
        key,
        value,
        score_mod=None if cap is None else capped,
        block_mask=mask,
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return out


@lru_cache(maxsize=64)
def compiled(kind: Kind, backend: Any = "inductor") -> Callable[..., torch.Tensor]:
    """Return the compiled attention of one kind of model.

    The compiler counts graphs by code object, so every kind gets a copy of the code: ten shapes of a family never add up to the
    limit. With `fullgraph` a limit that is reached, or anything else that cannot be compiled, is an error.
    """
    _, _, heads, key_heads, size, _ = kind
    own = _attend.__code__.replace(co_name=f"_attend_{heads}_{key_heads}_{size}_{next(_copies)}")
    return torch.compile(FunctionType(own, globals()), dynamic=True, fullgraph=True, backend=backend)


def tree_mask(batch: Batch, window: int | None, device: torch.device) -> BlockMask:
    """Return a batch's mask: query i, at key position c + i after c carried ones, sees key j iff j <= c + i < key_end[j].

    With a sliding window it must also lie less than `window` positions back. Blocks are found in numpy from the ends of the
    subtrees, in O(tokens + blocks); building the same mask from its function takes memory and time for tokens x keys.
    """
    n_queries, carried = len(batch.tokens), batch.carried
    place = np.arange(carried, carried + n_queries)
    depth = np.asarray(batch.key_depth)
    least = depth[place] - window + 1 if window is not None else np.full(n_queries, -1)
    partial, full = _blocks(place, least, np.asarray(batch.key_end), depth)
    at, first, end, deep = (
        torch.from_numpy(column.astype(np.int32)).to(device) for column in (place, least, batch.key_end, depth)
    )

    def sees(_b: Any, _h: Any, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        return (k <= at[q]) & (at[q] < end[k]) & (deep[k] >= first[q])

    counts, indices = (torch.from_numpy(part).to(device) for part in _listed(partial))
    full_counts, full_indices = (torch.from_numpy(part).to(device) for part in _listed(full))
    return BlockMask.from_kv_blocks(
        counts, indices, full_counts, full_indices, BLOCK_SIZE=BLOCK, mask_mod=sees, seq_lengths=(n_queries, len(batch.key_end))
    )


def _blocks(
    place: NDArray[Any], least: NDArray[Any], end: NDArray[Any], depth: NDArray[Any]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(query blocks, key blocks): where some pair may see each other, and where all pairs do.

    "May" errs on the safe side: within such a block the mask decides pair by pair.
    """
    first_query, last_query = _reduced(place, np.minimum), _reduced(place, np.maximum)
    lowest, highest = _reduced(least, np.minimum), _reduced(least, np.maximum)
    key = np.arange(len(end))
    first_key, last_key = _reduced(key, np.minimum), _reduced(key, np.maximum)
    nearest, furthest = _reduced(end, np.minimum), _reduced(end, np.maximum)
    shallow, deep = _reduced(depth, np.minimum), _reduced(depth, np.maximum)
    some = (first_key[None] <= last_query[:, None]) & (furthest[None] > first_query[:, None]) & (deep[None] >= lowest[:, None])
    every = (last_key[None] <= first_query[:, None]) & (nearest[None] > last_query[:, None])
    every &= shallow[None] >= highest[:, None]
    # A ragged last block holds positions that do not exist: left to the mask.
    if len(place) % BLOCK:
        every[-1] = False
    if len(end) % BLOCK:
        every[:, -1] = False
    return some & ~every, every


def _reduced(values: NDArray[Any], reduce: np.ufunc) -> NDArray[Any]:
    """Least or largest value of every block."""
    result: NDArray[Any] = reduce.reduceat(values, np.arange(0, len(values), BLOCK))
    return result


def _listed(blocks: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """FlexAttention's form: (1, 1, rows) numbers of key blocks, and (1, 1, rows, columns) which ones, those first."""
    order = np.argsort(~blocks, axis=1, kind="stable")
    return blocks.sum(axis=1).astype(np.int32)[None, None], order.astype(np.int32)[None, None]
