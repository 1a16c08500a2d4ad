"""The next token of an answer: the most probable one, or one drawn by a number that depends on item and draw alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from forecast.scoring.decoding import Decoding


class RowDraws:
    """The random numbers of one answer: Philox with the seed, item and draw as its key, so that no batch changes them."""

    def __init__(self, seed: int, item: int, sample: int) -> None:
        """Start the answer's own stream."""
        key = np.random.SeedSequence([seed, item, sample]).generate_state(2, np.uint64)
        self._generator = np.random.Generator(np.random.Philox(key=key))

    def next(self) -> float:
        """Return the next number, from 0 to below 1."""
        return float(self._generator.random())


def greedy_tokens(logits_BxV: torch.Tensor) -> list[int]:
    """Return the most probable token of each row, the first of equal ones."""
    return [int(token) for token in logits_BxV.argmax(-1).tolist()]


def drawn_tokens(logits_BxV: torch.Tensor, decoding: Decoding, draws: Sequence[RowDraws]) -> list[int]:
    """Draw each row's token from softmax(logits / temperature), cut to the `top_k` likeliest and the `top_p` nucleus.

    Probabilities are float64, and a token is where the row's number falls in their cumulative sum: over the vocabulary as it
    stands, or where tokens are cut from the most probable on.
    """
    numbers = torch.tensor([row.next() for row in draws], dtype=torch.float64)[:, None]
    scaled = logits_BxV.double().cpu() / decoding.temperature
    if decoding.top_k == 0 and decoding.top_p >= 1.0:
        return _places((scaled - scaled.amax(-1, keepdim=True)).exp_(), numbers)
    # Sorting a vocabulary takes longer than the forward pass of a small model: it is left to those who cut.
    ordered, tokens = torch.sort(scaled, dim=-1, descending=True, stable=True)
    places = _places(_cut(torch.softmax(ordered, -1), decoding), numbers)
    return [int(row[place]) for row, place in zip(tokens, places, strict=True)]


def _cut(shares_BxV: torch.Tensor, decoding: Decoding) -> torch.Tensor:
    """Zero beyond the `top_k` leading shares, and beyond the smallest set of them that holds `top_p` of their mass."""
    if decoding.top_k:
        shares_BxV[:, decoding.top_k :] = 0.0
    if decoding.top_p < 1.0:
        before = shares_BxV.cumsum(-1) - shares_BxV
        shares_BxV[before >= decoding.top_p * shares_BxV.sum(-1, keepdim=True)] = 0.0
    return shares_BxV


def _places(shares_BxV: torch.Tensor, numbers_Bx1: torch.Tensor) -> list[int]:
    total = shares_BxV.cumsum(-1)
    found = torch.searchsorted(total, numbers_Bx1 * total[:, -1:], right=True)[:, 0].tolist()
    size = shares_BxV.shape[-1]
    # Rounding may put the largest numbers behind the last token that has a share.
    return [place if place < size else int(row.nonzero()[-1]) for row, place in zip(shares_BxV, found, strict=True)]
