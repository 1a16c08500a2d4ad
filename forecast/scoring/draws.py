"""The next token of an answer: the most probable one, or one drawn by a number that depends on item and draw alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

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

    Probabilities are float64, and a token is where its number falls in their cumulative sum, most probable first.
    """
    scaled = logits_BxV.double().cpu() / decoding.temperature
    found = []
    for row, numbers in zip(scaled, draws, strict=True):
        ordered, tokens = torch.sort(row, descending=True, stable=True)
        shares = torch.softmax(ordered, -1).numpy()
        found.append(int(tokens[_place(_nucleus(shares, decoding), numbers.next())]))
    return found


def _nucleus(shares: NDArray[np.float64], decoding: Decoding) -> NDArray[np.float64]:
    """The leading shares that may be drawn: the smallest set that holds `top_p` of the mass."""
    kept = shares[: decoding.top_k] if decoding.top_k else shares
    if decoding.top_p < 1.0:
        total = np.cumsum(kept) / kept.sum()
        kept = kept[: int(np.searchsorted(total, decoding.top_p)) + 1]
    return kept


def _place(shares: NDArray[np.float64], number: float) -> int:
    total = np.cumsum(shares)
    return min(int(np.searchsorted(total, number * total[-1], side="right")), len(shares) - 1)
