"""What will be computed, for all checkpoints that share a tokenizer and a window: requests, tree, and the order of results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecast.scoring.prefix_tree import IntArray, PrefixTree, build_tree
from forecast.scoring.requests import TokenRequest


@dataclass(frozen=True, kw_only=True)
class ScoringPlan:
    """Token requests merged into a prefix tree."""

    requests: tuple[TokenRequest, ...]
    tree: PrefixTree
    by_completion: IntArray
    """Requests in the order in which their last row is scored."""
    completion: IntArray
    """The last row of each of those, ascending."""

    def rows_of(self, wanted: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Rows of the tree that some requests ask for."""
        asked = np.repeat(wanted, np.diff(self.tree.request_start))
        rows = np.zeros(len(self.tree.row_node), dtype=np.bool_)
        rows[self.tree.request_row[asked]] = True
        return rows

    def entries_of(self, wanted: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Entries of the tree, distinct prefixes, that some requests need: those above or at a row that they ask for."""
        n_asked = np.zeros(len(self.tree.token) + 1, dtype=np.int64)
        np.add.at(n_asked, self.tree.row_node[self.rows_of(wanted)] + 1, 1)
        before = np.cumsum(n_asked)
        return before[self.tree.subtree_end] > before[:-1]

    @property
    def tokens_requested(self) -> int:
        """Positions that a scorer without sharing would feed."""
        return sum(len(request.inputs) for request in self.requests)

    @property
    def tokens_unique(self) -> int:
        """Distinct prefixes."""
        return len(self.tree.token)


def make_plan(requests: Sequence[TokenRequest]) -> ScoringPlan:
    """Return the plan of some requests."""
    tree = build_tree(requests)
    last_row = np.maximum.reduceat(tree.request_row, tree.request_start[:-1]) if len(requests) else np.empty(0, dtype=np.int64)
    order = np.argsort(last_row, kind="stable").astype(np.int64)
    return ScoringPlan(requests=tuple(requests), tree=tree, by_completion=order, completion=last_row[order])
