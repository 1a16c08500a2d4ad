"""Tree attention by FlexAttention: one compiled kernel per layer, the tree as its mask. For CUDA devices."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from forecast.scoring.tree_batches import Batch


def flex_tree_attention(
    batch: Batch,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    """Return (1, H, T, D): query i, at key position c + i after c carried ones, sees key j iff j <= c + i < key_end[j].

    With a sliding window it must also lie less than `window` positions back.
    """

    def cap(score: torch.Tensor, _b: Any, _h: Any, _q: Any, _k: Any) -> torch.Tensor:
        return score if softcap is None else softcap * torch.tanh(score / softcap)

    attend = _compiled() if query.device.type == "cuda" else flex_attention
    out: torch.Tensor = attend(
        query,
        key,
        value,
        score_mod=None if softcap is None else cap,
        block_mask=_block_mask(_Key(batch), window, query.device),
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return out


class _Key:
    """A batch as a cache key: by identity, since its arrays cannot be compared cheaply."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def __hash__(self) -> int:
        return id(self.batch)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.batch is self.batch


@lru_cache(maxsize=4)
def _block_mask(key: _Key, window: int | None, device: torch.device) -> BlockMask:
    batch = key.batch
    end = torch.from_numpy(batch.key_end).to(device)
    depth = torch.from_numpy(batch.key_depth).to(device)
    carried = batch.carried

    def sees(_b: Any, _h: Any, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        at = q + carried
        visible = (k <= at) & (at < end[k])
        if window is not None:
            visible = visible & (depth[at] - depth[k] < window)
        return visible

    return create_block_mask(sees, None, None, len(batch.tokens), len(batch.key_end), device=str(device))


@lru_cache(maxsize=1)
def _compiled() -> Any:
    return torch.compile(flex_attention, dynamic=True)
