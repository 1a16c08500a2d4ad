"""Cuts a prefix tree into forward passes, and writes down which attention products each of them needs.

A batch is a run of entries in depth-first order. Prefixes that its first entry continues were computed by the batch before:
their keys and values are carried over, so that a prefix shared by thousands of questions is computed once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecast.scoring.prefix_tree import IntArray, PrefixTree

LOCAL_TOKENS = 128
"""A subtree up to this size is one masked block: a question with its choices. Larger ones are split at their long prefixes."""
SHORT_CHAIN = 24
"""Shared runs shorter than this are repeated as keys of the blocks below them: cheaper than a product of their own."""
MERGED_BLOCK = 64
"""Small neighbours are put into one block up to this size."""
BLOCK_STEP = 16
"""Block sizes are rounded up to a multiple of this, so that blocks of like size are computed together."""
_CUT_SLACK = 0.25
"""A batch may end this much early, to end where the carried prefix is short."""


@dataclass(frozen=True, kw_only=True)
class DenseProduct:
    """All queries of a range look at all keys of a list, without a mask: a shared prefix and everything below it."""

    key: IntArray
    """Key positions (carried entries first, then the batch's own)."""
    query_start: int
    query_stop: int


@dataclass(frozen=True, kw_only=True)
class MaskedProduct:
    """Queries of a range look at a range of keys through the tree's mask: what little hangs below a long run, and that run."""

    key_start: int
    """First key position; the last is that of the last query."""
    query_start: int
    query_stop: int
    allowed_QxK: np.ndarray[tuple[int, int], np.dtype[np.bool_]]  # noqa: N815


@dataclass(frozen=True, kw_only=True)
class BlockGroup:
    """Masked blocks of one padded shape. Query positions count the batch's own entries only."""

    query_BxQ: IntArray  # noqa: N815
    key_BxK: IntArray  # noqa: N815
    allowed_BxQxK: np.ndarray[tuple[int, int, int], np.dtype[np.bool_]]  # noqa: N815
    valid_BxQ: np.ndarray[tuple[int, int], np.dtype[np.bool_]]  # noqa: N815


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One forward pass: `tokens` at `positions`, after `carried` entries whose keys and values are there already."""

    start: int
    """First entry of the tree that is computed; with `recomputed` entries before it computed again."""
    stop: int
    tokens: IntArray
    positions: IntArray
    carried: int
    recomputed: int
    key_depth: IntArray
    """Position in the sequence of every key, carried ones first."""
    key_end: IntArray
    """Key j is seen by queries at key positions in [j, key_end[j])."""
    kept: IntArray
    """Key positions that the next batch needs."""
    causal: tuple[tuple[int, int], ...]
    """Ranges of the batch's own entries that are one long run each."""
    masked: tuple[MaskedProduct, ...]
    dense: tuple[DenseProduct, ...]
    blocks: tuple[BlockGroup, ...]
    scored: IntArray
    """The batch's own entries whose next-token distribution is asked for."""
    row_start: int
    row_stop: int
    """Rows of the tree that this batch scores."""
    row_scored: IntArray
    """For each of those rows, its position in `scored`."""


def cut_batches(
    tree: PrefixTree,
    token_budget: int,
    *,
    carry_limit: int,
    start: int = 0,
    rows: NDArray[np.bool_] | None = None,
) -> Iterator[Batch]:
    """Yield batches of at most `token_budget` new entries from entry `start` on.

    Prefixes longer than `carry_limit`, and those before `start`, are computed again instead of carried. With `rows`, only
    batches that score one of those rows are yielded, and those whose keys and values they carry: where the cuts lie and what
    is carried does not depend on `rows`, so every row gets the bits that it would get among all others.
    """
    total = len(tree.token)
    edges = [start]
    while edges[-1] < total:
        edges.append(_choose_cut(tree, edges[-1], token_budget))
    paths = [tree.ancestors(edge) for edge in edges[:-1]] + [np.empty(0, dtype=np.int64)]
    nothing = np.empty(0, dtype=np.int64)
    carried = [index > 0 and len(path) <= carry_limit for index, path in enumerate(paths[:-1])]
    chosen = range(len(carried)) if rows is None else _needed_batches(tree, edges, paths, carried, rows)
    for index, following in zip(chosen, [*chosen[1:], len(carried)], strict=True):
        first, stop, path, after, carries = edges[index], edges[index + 1], paths[index], paths[following], carried[index]
        keys = np.concatenate([path, np.arange(first, stop)])
        # `after` is the path of the next batch that is really computed, not of the next one in order.
        kept = np.searchsorted(keys, after) if len(after) <= carry_limit else nothing
        yield _make_batch(tree, keys, len(path) if carries else 0, 0 if carries else len(path), first, stop, kept)


def _needed_batches(
    tree: PrefixTree, edges: list[int], paths: list[IntArray], carried: list[bool], rows: NDArray[np.bool_]
) -> list[int]:
    """Batches that score some of the rows, and those that computed what these carry, and so on.

    What a batch carries was computed where it belongs, or again by the last batch before it that carried nothing itself.
    Between two needed batches nothing is lost: what the later one carries lies on the earlier one's path or within it.
    """
    starts = np.asarray(edges[:-1])
    needed = np.zeros(len(starts), dtype=np.bool_)
    asked = np.searchsorted(starts, tree.row_node[rows], side="right") - 1
    needed[asked[asked >= 0]] = True
    renewed = np.maximum.accumulate(np.where(carried, 0, np.arange(len(starts))))
    # From the back: a batch that is needed only as a source has sources of its own, all of them earlier.
    for index in range(len(starts) - 1, 0, -1):
        if needed[index] and carried[index]:
            last = int(renewed[index - 1])
            source = np.searchsorted(starts, paths[index], side="right") - 1
            needed[np.maximum(source, last)] = True
    return np.flatnonzero(needed).tolist()


def _choose_cut(tree: PrefixTree, start: int, budget: int) -> int:
    """End of the batch: where the path to carry is shortest, among the run starts in the last part of the budget."""
    total = len(tree.token)
    if start + budget >= total:
        return total
    first = int(np.searchsorted(tree.segment_start, start + int(budget * (1 - _CUT_SLACK)), side="right"))
    last = int(np.searchsorted(tree.segment_start, start + budget, side="right"))
    candidates = tree.segment_start[first:last]
    if not len(candidates):
        # No run starts in the slack: end at the last one before it, or, within one very long run, in its middle.
        earlier = tree.segment_start[:first]
        return int(earlier[-1]) if len(earlier) and earlier[-1] > start else start + budget
    # Of equally short paths the last one: the batch is then fullest.
    shortest = np.flatnonzero(tree.depth[candidates] == tree.depth[candidates].min())[-1]
    return int(candidates[shortest])


def _make_batch(
    tree: PrefixTree, keys: IntArray, carried: int, recomputed: int, start: int, stop: int, kept: IntArray
) -> Batch:
    before = carried + recomputed
    key_depth = tree.depth[keys]
    key_end = np.minimum(tree.subtree_end[keys], stop) - start + before
    causal, masked, dense, blocks = _plan_products(key_depth, key_end, carried)
    row_start, row_stop = (int(np.searchsorted(tree.row_node, edge)) for edge in (start, stop))
    scored, row_scored = np.unique(tree.row_node[row_start:row_stop], return_inverse=True)
    return Batch(
        start=start,
        stop=stop,
        tokens=tree.token[keys[carried:]],
        positions=key_depth[carried:],
        carried=carried,
        recomputed=recomputed,
        key_depth=key_depth,
        key_end=key_end,
        kept=kept,
        causal=tuple(causal),
        masked=tuple(masked),
        dense=tuple(dense),
        blocks=_group_blocks(blocks, key_end, carried),
        scored=scored - start + recomputed,
        row_start=row_start,
        row_stop=row_stop,
        row_scored=row_scored.astype(np.int64),
    )


def _plan_products(
    key_depth: IntArray, key_end: IntArray, carried: int
) -> tuple[list[tuple[int, int]], list[MaskedProduct], list[DenseProduct], list[tuple[int, int, IntArray]]]:
    """Walk the chains (runs without a branch) in order.

    A small subtree becomes a block. A long chain becomes a causal range of its own; what hangs below it looks at it through a
    masked product together with itself if it is small (a question with its choices), else through a dense product. A short
    chain that much hangs below becomes a block, and its entries are repeated as keys further down.
    """
    n_keys = len(key_depth)
    # Neighbours of one run: the next depth, and nothing else branches off between them.
    joined = (key_depth[1:] == key_depth[:-1] + 1) & (key_end[1:] == key_end[:-1])
    if 0 < carried < n_keys:
        # Carried entries are keys only: a chain across the border would make them queries again.
        joined[carried - 1] = False
    starts = np.concatenate([[0], np.flatnonzero(~joined) + 1]).tolist()
    stops = [*starts[1:], n_keys]
    causal: list[tuple[int, int]] = []
    masked: list[MaskedProduct] = []
    dense: list[DenseProduct] = []
    blocks: list[tuple[int, int, IntArray]] = []
    repeated: list[tuple[int, int, int]] = []
    covered = 0
    for first, stop in zip(starts, stops, strict=True):
        if first < covered:
            continue
        end = int(key_end[first])
        # A stack of short chains: those whose subtree has ended are above nothing any more.
        while repeated and repeated[-1][2] <= first:
            repeated.pop()
        above = _ranges(repeated)
        if first >= carried and end - first <= LOCAL_TOKENS:
            _append_block(blocks, first, end, above)
            covered = end
        elif stop - first < SHORT_CHAIN:
            if first >= carried:
                _append_block(blocks, first, stop, above)
            repeated.append((first, stop, end))
        else:
            covered = stop
            if first >= carried:
                causal.append((first - carried, stop - carried))
                if stop < end <= stop + LOCAL_TOKENS:
                    masked.append(_masked_product(first, stop, end, key_end, carried))
                    covered = end
                if len(above):
                    dense.append(DenseProduct(key=above, query_start=first - carried, query_stop=covered - carried))
            if end > covered:
                query_start = max(stop, carried) - carried
                dense.append(DenseProduct(key=np.arange(first, stop), query_start=query_start, query_stop=end - carried))
    return causal, masked, dense, blocks


def _masked_product(first: int, stop: int, end: int, key_end: IntArray, carried: int) -> MaskedProduct:
    """Queries of [stop, end) over the keys of [first, end)."""
    key, query = np.arange(first, end), np.arange(stop, end)
    allowed_QxK = (key[None, :] <= query[:, None]) & (query[:, None] < key_end[None, first:end])
    return MaskedProduct(key_start=first, query_start=stop - carried, query_stop=end - carried, allowed_QxK=allowed_QxK)


def _ranges(parts: list[tuple[int, int, int]]) -> IntArray:
    return np.concatenate([np.arange(first, stop) for first, stop, _ in parts]) if parts else np.empty(0, dtype=np.int64)


def _append_block(blocks: list[tuple[int, int, IntArray]], first: int, stop: int, above: IntArray) -> None:
    """Add the block, or widen the one before it while both are small."""
    if blocks and blocks[-1][1] == first and stop - blocks[-1][0] <= MERGED_BLOCK:
        before_first, _, before_above = blocks.pop()
        # Keys from the widened block itself would be counted twice.
        above = above[above < before_first]
        blocks.append((before_first, stop, np.union1d(before_above, above)))
    else:
        blocks.append((first, stop, above))


def _group_blocks(blocks: list[tuple[int, int, IntArray]], key_end: IntArray, carried: int) -> tuple[BlockGroup, ...]:
    shapes: dict[tuple[int, int], list[tuple[int, int, IntArray]]] = {}
    for first, stop, above in blocks:
        n_queries, n_keys = stop - first, stop - first + len(above)
        shape = (-(-n_queries // BLOCK_STEP) * BLOCK_STEP, -(-n_keys // BLOCK_STEP) * BLOCK_STEP)
        shapes.setdefault(shape, []).append((first, stop, above))
    return tuple(_pad_blocks(members, *shape, key_end, carried) for shape, members in sorted(shapes.items()))


def _pad_blocks(
    members: list[tuple[int, int, IntArray]], n_queries: int, n_keys: int, key_end: IntArray, carried: int
) -> BlockGroup:
    query_BxQ = np.empty((len(members), n_queries), dtype=np.int64)
    key_BxK = np.empty((len(members), n_keys), dtype=np.int64)
    is_key_BxK = np.zeros((len(members), n_keys), dtype=np.bool_)
    valid_BxQ = np.zeros((len(members), n_queries), dtype=np.bool_)
    for i, (first, stop, above) in enumerate(members):
        # Padding repeats the first query, which sees at least itself, and keys that nobody may look at.
        query_BxQ[i] = first
        query_BxQ[i, : stop - first] = np.arange(first, stop)
        valid_BxQ[i, : stop - first] = True
        own = len(above) + stop - first
        key_BxK[i] = first
        key_BxK[i, :own] = np.concatenate([above, np.arange(first, stop)])
        is_key_BxK[i, :own] = True
    allowed_BxQxK = (
        (key_BxK[:, None, :] <= query_BxQ[:, :, None])
        & (query_BxQ[:, :, None] < key_end[key_BxK][:, None, :])
        & is_key_BxK[:, None, :]
    )
    return BlockGroup(query_BxQ=query_BxQ - carried, key_BxK=key_BxK, allowed_BxQxK=allowed_BxQxK, valid_BxQ=valid_BxQ)
