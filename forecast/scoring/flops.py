"""Forward FLOPs: what a scoring did, the least it could have done, and what the machine can do."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from forecast.scoring.cpu_products import linear
from forecast.scoring.matmul_timing import fastest_product
from forecast.scoring.prefix_tree import PrefixTree
from forecast.scoring.tree_batches import Batch


@dataclass(frozen=True, kw_only=True)
class ForwardCost:
    """FLOPs of one architecture's parts; a multiply-add counts 2."""

    per_token: float
    """2 N, N = parameters outside embeddings and output matrix."""
    per_pair: float
    """Query meets key, all layers: 4 x layers x heads x head size (scores and weighted sum)."""
    per_scored: float
    """Output matrix at one position: 2 x vocabulary x width."""

    def bound(self, tree: PrefixTree, entries: NDArray[np.bool_] | None = None, rows: NDArray[np.bool_] | None = None) -> float:
        """Least FLOPs of some entries and rows (None: all).

        Distinct prefixes once each, attention to their ancestors and themselves, the head where it is scored.
        """
        depth = tree.depth if entries is None else tree.depth[entries]
        scored = len(np.unique(tree.row_node if rows is None else tree.row_node[rows]))
        return self.per_token * len(depth) + self.per_pair * float((depth + 1).sum()) + self.per_scored * scored

    def of_batch(self, batch: Batch) -> float:
        """FLOPs of one packed batch, masked products counted in full."""
        pairs = sum(group.allowed_BxQxK.size for group in batch.blocks)
        pairs += sum(product.allowed_QxK.size for product in batch.masked)
        pairs += sum((stop - start) * (stop - start + 1) // 2 for start, stop in batch.causal)
        pairs += sum(len(product.key) * (product.query_stop - product.query_start) for product in batch.dense)
        return self.per_token * len(batch.tokens) + self.per_pair * pairs + self.per_scored * len(batch.scored)

    def of_padded(self, rows: int, width: int, logits: int) -> float:
        """FLOPs of one padded batch, whole attention matrices, the head at some positions of each row."""
        return rows * (width * self.per_token + logits * self.per_scored) + self.per_pair * rows * width * width


def forward_cost(model: Any, params_non_embedding: int) -> ForwardCost:
    """Count one architecture's forward FLOPs from its shapes (mixtures of experts are counted as if dense)."""
    config = model.config.get_text_config(decoder=True)
    width = int(getattr(config, "hidden_size", 0))
    heads = int(getattr(config, "num_attention_heads", 0) or 0)
    head_size = int(getattr(config, "head_dim", 0) or (width // heads if heads else 0))
    return ForwardCost(
        per_token=2.0 * params_non_embedding,
        per_pair=4.0 * int(getattr(config, "num_hidden_layers", 0)) * heads * head_size,
        per_scored=2.0 * int(config.vocab_size) * width,
    )


@lru_cache(maxsize=8)
def matmul_rate(device: str, dtype: str) -> float:
    """Measured FLOP/s of a square product of 1024 (4096 on CUDA) as scoring computes it: the best of several."""
    size = 4096 if device.startswith("cuda") else 1024
    return fastest_product(
        lambda left, right: linear(left, right, None), size=size, dtype=getattr(torch, dtype), device=device, repeats=6
    )
