"""Which answers are written side by side: fixed blocks, so that a resumed evaluation writes the same ones again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecast.scoring.decoding import Decoding

_LEAST_HEADER = 8
"""Shared tokens below which a header is not worth a product of its own."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One prompt, as tokens."""

    item: int
    """Number of the item: with the sampling seed it decides what is drawn."""
    tokens: tuple[int, ...]
    decoding: Decoding
    n_truncated: int = 0
    """Tokens cut on the left because the answer needs room in the window."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """Prompts whose answers are written side by side after one header."""

    prompts: tuple[int, ...]
    """Positions in the plan; a prompt with many answers stands in several blocks."""
    samples: tuple[tuple[int, int], ...]
    """First and last + 1 draw of each prompt in this block."""
    header: int
    """Tokens that all its prompts share at their beginning, and that are computed once."""
    capacity: int
    """Most own tokens that a row may come to."""

    @property
    def rows(self) -> int:
        """Answers in the block."""
        return sum(last - first for first, last in self.samples)


def cut_blocks(prompts: Sequence[Prompt], positions: int) -> list[Block]:
    """Return the blocks of prompts that are decoded alike, of about `positions` held tokens each.

    Prompts of like length come together; the header is that of all prompts that are decoded alike, so that it stays the same
    from block to block.
    """
    blocks = []
    for kind in dict.fromkeys(prompt.decoding for prompt in prompts):
        members = [index for index, prompt in enumerate(prompts) if prompt.decoding == kind]
        header = shared_length([prompts[index].tokens for index in members])
        members.sort(key=lambda index: (-len(prompts[index].tokens), index))
        queue = [(index, first) for index in members for first in range(kind.samples)]
        while queue:
            longest = len(prompts[queue[0][0]].tokens) - header + kind.max_new_tokens
            size = max(1, positions // longest)
            blocks.append(_block(queue[:size], header, longest))
            del queue[:size]
    return blocks


def _block(rows: Sequence[tuple[int, int]], header: int, capacity: int) -> Block:
    prompts = tuple(dict.fromkeys(index for index, _ in rows))
    drawn = {index: [sample for other, sample in rows if other == index] for index in prompts}
    samples = tuple((drawn[index][0], drawn[index][-1] + 1) for index in prompts)
    return Block(prompts=prompts, samples=samples, header=header, capacity=capacity)


def shared_length(rows: Sequence[Sequence[int]]) -> int:
    """Return how many tokens all rows begin with, leaving each at least one of its own; 0 where that is hardly any.

    >>> shared_length([(1,) * 9 + (2,), (1,) * 9 + (3, 4)]), shared_length([(1, 2), (1, 3)]), shared_length([(5, 6)])
    (9, 0, 0)
    """
    if len(rows) < 2:
        return 0
    first: NDArray[np.int64] = np.array(min(rows, key=len)[:-1], dtype=np.int64)
    shared = len(first)
    for row in rows:
        differ = np.flatnonzero(first[:shared] != np.array(row[:shared], dtype=np.int64))
        shared = int(differ[0]) if differ.size else shared
    return shared if shared >= _LEAST_HEADER else 0
