"""The obvious way to score: the whole model on right-padded rows. Slow, right for any architecture; the fast way's measure."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class PlainInput:
    """One input and the log-probabilities wanted of it: log p(target[k]) after the token at position[k]."""

    inputs: Sequence[int] | NDArray[np.int32]
    position: tuple[int, ...]
    target: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class PlainScores:
    """Results of one padded batch; values are concatenated over its rows."""

    log_p: torch.Tensor
    """Log-probability of each target, in nats (float64)."""
    greedy: torch.Tensor
    """Whether the target was the most probable token."""
    padded: int
    """Padding positions computed."""
    logits: int
    """Positions of each row at which logits were computed."""


@torch.inference_mode()
def score_inputs(model: Any, rows: Sequence[PlainInput], *, every_logit: bool = False) -> PlainScores:
    """Score some inputs in one padded batch. A causal model never looks at padding on the right.

    Args:
        model: any causal language model of transformers.
        rows: inputs and what is asked of them.
        every_logit: compute logits at all positions, so that a row's bits do not depend on what else is asked of it.
    """
    width = max(len(row.inputs) for row in rows)
    device = model.get_input_embeddings().weight.device
    tokens_BxT = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        tokens_BxT[i, : len(row.inputs)] = torch.from_numpy(np.asarray(row.inputs, dtype=np.int64))
    kept_K, arguments = (torch.arange(width), {}) if every_logit else _kept_positions(model, rows, width)
    logits_BxKxV = model(input_ids=tokens_BxT.to(device), use_cache=False, **arguments).logits
    scores, greedy = [], []
    for i, row in enumerate(rows):
        target_S = torch.tensor(row.target, device=logits_BxKxV.device)
        where_S = torch.searchsorted(kept_K, torch.tensor(row.position))
        logits_SxV = logits_BxKxV[i, where_S.to(logits_BxKxV.device)]
        wide_SxV = logits_SxV if logits_SxV.dtype == torch.float64 else logits_SxV.float()
        at_target_S = wide_SxV.gather(1, target_S[:, None])[:, 0]
        scores.append((at_target_S.double() - wide_SxV.logsumexp(-1).double()).cpu())
        greedy.append((wide_SxV.argmax(-1) == target_S).cpu())
    return PlainScores(
        log_p=torch.cat(scores),
        greedy=torch.cat(greedy),
        padded=len(rows) * width - sum(len(row.inputs) for row in rows),
        logits=len(kept_K),
    )


def _kept_positions(model: Any, rows: Sequence[PlainInput], width: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Positions whose logits come back, ascending, and how to ask for them; all where the model cannot be asked."""
    if "logits_to_keep" not in inspect.signature(model.forward).parameters:
        return torch.arange(width), {}
    kept_K = torch.tensor(sorted({position for row in rows for position in row.position}))
    return kept_K, {"logits_to_keep": kept_K}
