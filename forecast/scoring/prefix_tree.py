"""Merges token requests into a prefix tree, so that every distinct prefix is computed once.

The tree is kept flat, in depth-first order: one entry per distinct prefix. All descendants of an entry follow it without a
gap, so `subtree_end` alone says who may attend to whom: entry i sees entry j exactly when j <= i < subtree_end[j].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecast.scoring.requests import TokenRequest

IntArray = NDArray[np.int64]
_SORTABLE = np.dtype(">u4")
"""Big-endian, so that sorting the bytes sorts the tokens."""


@dataclass(frozen=True, kw_only=True)
class PrefixTree:
    """Distinct prefixes of some requests, and the (prefix, next token) pairs that they score."""

    token: IntArray
    """Last token of each prefix."""
    depth: IntArray
    """Its position in the sequence, from 0."""
    subtree_end: IntArray
    """One past the last prefix that continues this one."""
    segment_start: IntArray
    """First entry of each run of consecutive positions; runs are what one more distinct sequence adds to the tree."""
    segment_parent: IntArray
    """Run that holds the entry before a run's first one; -1 at depth 0."""
    segment_request: IntArray
    """First of the requests that brought a run into the tree."""
    row_node: IntArray
    """Scored rows: the prefix whose next-token distribution is asked for, ascending."""
    row_target: IntArray
    """Scored rows: the token asked for."""
    request_row: IntArray
    """Rows of request r at [request_start[r], request_start[r + 1])."""
    request_start: IntArray

    def ancestors(self, entry: int) -> IntArray:
        """Entries of all proper prefixes of `entry`, by position."""
        parts: list[IntArray] = []
        segment = int(np.searchsorted(self.segment_start, entry, side="right")) - 1
        last = entry - 1
        while segment >= 0:
            first = int(self.segment_start[segment])
            parts.append(np.arange(first, last + 1))
            parent = int(self.segment_parent[segment])
            if parent >= 0:
                last = int(self.segment_start[parent] + self.depth[first] - 1 - self.depth[self.segment_start[parent]])
            segment = parent
        return np.concatenate(parts[::-1]) if parts else np.empty(0, dtype=np.int64)


def build_tree(requests: Sequence[TokenRequest]) -> PrefixTree:
    """Return the tree of all requests' inputs.

    Sorting the distinct inputs brings shared prefixes together; each input then adds what its predecessor lacks.
    """
    by_input: dict[bytes, list[int]] = {}
    for index, request in enumerate(requests):
        by_input.setdefault(np.asarray(request.inputs, dtype=_SORTABLE).tobytes(), []).append(index)
    ordered = sorted(by_input)
    longest = max((len(packed) // _SORTABLE.itemsize for packed in ordered), default=0)
    positions = np.arange(longest + 1)
    offset_at = np.zeros(longest + 1, dtype=np.int64)
    """Entry of the current path at position p is offset_at[p] + p."""
    segment_at = np.full(longest + 1, -1, dtype=np.int64)
    unpacked = [np.frombuffer(packed, dtype=_SORTABLE) for packed in ordered]
    shared_lengths = [0, *map(_shared_length, unpacked[:-1], unpacked[1:])]
    total = sum(map(len, unpacked)) - sum(shared_lengths)
    token, depth, subtree_end = (np.zeros(total, dtype=np.int64) for _ in range(3))
    starts: list[int] = []
    parents: list[int] = []
    firsts: list[int] = []
    request_nodes: list[IntArray] = [np.empty(0, dtype=np.int64)] * len(requests)
    filled = 0
    previous = np.empty(0, dtype=_SORTABLE)
    for packed, current, shared in zip(ordered, unpacked, shared_lengths, strict=False):
        open_positions = positions[shared : len(previous)]
        subtree_end[offset_at[open_positions] + open_positions] = filled
        stop = filled + len(current) - shared
        token[filled:stop] = current[shared:]
        depth[filled:stop] = positions[shared : len(current)]
        parents.append(int(segment_at[shared - 1]) if shared else -1)
        offset_at[shared : len(current)] = filled - shared
        segment_at[shared : len(current)] = len(starts)
        starts.append(filled)
        firsts.append(by_input[packed][0])
        for index in by_input[packed]:
            scored = positions[len(current) - len(requests[index].targets) : len(current)]
            request_nodes[index] = offset_at[scored] + scored
        filled, previous = stop, current
    open_positions = positions[: len(previous)]
    subtree_end[offset_at[open_positions] + open_positions] = filled
    row_node, row_target, request_row = _distinct_rows(requests, request_nodes)
    return PrefixTree(
        token=token,
        depth=depth,
        subtree_end=subtree_end,
        segment_start=np.array(starts, dtype=np.int64),
        segment_parent=np.array(parents, dtype=np.int64),
        segment_request=np.array(firsts, dtype=np.int64),
        row_node=row_node,
        row_target=row_target,
        request_row=request_row,
        request_start=np.cumsum([0, *(len(request.targets) for request in requests)]),
    )


def _shared_length(first: NDArray[np.uint32], second: NDArray[np.uint32]) -> int:
    """Length of the longest common prefix."""
    common = min(len(first), len(second))
    differs = first[:common] != second[:common]
    at = int(differs.argmax()) if common else 0
    return at if common and differs[at] else common


def _distinct_rows(requests: Sequence[TokenRequest], request_nodes: Sequence[IntArray]) -> tuple[IntArray, IntArray, IntArray]:
    """Pairs (prefix, next token) without repeats, sorted by prefix, and where each request's pairs went."""
    if not requests:
        empty = np.empty(0, dtype=np.int64)
        return empty, empty, empty
    nodes = np.concatenate(request_nodes)
    targets = np.concatenate([np.array(request.targets, dtype=np.int64) for request in requests])
    keys = (nodes << 32) | targets
    distinct, where = np.unique(keys, return_inverse=True)
    return distinct >> 32, distinct & 0xFFFFFFFF, where.astype(np.int64)
