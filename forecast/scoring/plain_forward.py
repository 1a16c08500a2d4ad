"""The obvious way to score: the whole model on right-padded rows. Slow, right for every architecture; the fast way's measure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


@torch.inference_mode()
def score_rows(model: Any, rows: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Score the last tokens of some inputs in one padded batch.

    Args:
        model: a causal language model.
        rows: (inputs, targets) token pairs; the logits of the last `len(targets)` inputs are scored.

    Returns:
        log p(target) of every scored position in nats (float64), whether it was the most probable token, both
        concatenated over the rows, and the padding positions computed. Causal models never look at padding on the right.
    """
    width = max(len(inputs) for inputs, _ in rows)
    device = model.get_input_embeddings().weight.device
    tokens_BxT = torch.zeros((len(rows), width), dtype=torch.long)
    for i, (inputs, _) in enumerate(rows):
        tokens_BxT[i, : len(inputs)] = torch.tensor(inputs)
    logits_BxTxV = model(input_ids=tokens_BxT.to(device), use_cache=False).logits
    scores, greedy = [], []
    for i, (inputs, targets) in enumerate(rows):
        logits_SxV = logits_BxTxV[i, len(inputs) - len(targets) : len(inputs)]
        wide_SxV = logits_SxV if logits_SxV.dtype == torch.float64 else logits_SxV.float()
        target_S = torch.tensor(targets, device=wide_SxV.device)
        at_target_S = wide_SxV.gather(1, target_S[:, None])[:, 0]
        scores.append((at_target_S.double() - wide_SxV.logsumexp(-1).double()).cpu())
        greedy.append((wide_SxV.argmax(-1) == target_S).cpu())
    padded = len(rows) * width - sum(len(inputs) for inputs, _ in rows)
    return torch.cat(scores), torch.cat(greedy), padded
