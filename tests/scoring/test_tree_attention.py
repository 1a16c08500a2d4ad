"""Every kind of attention product over a packed tree, against one softmax under the tree's mask."""

from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from forecast.scoring.prefix_tree import PrefixTree, build_tree
from forecast.scoring.requests import TokenRequest
from forecast.scoring.tree_attention import TreeState, tree_attention, tree_state
from forecast.scoring.tree_batches import Batch, cut_batches

HEADS, SIZE, VOCABULARY, LONGEST = 2, 8, 50, 600
KINDS = ("causal", "masked", "dense", "blocks")


def make_tree(seed: int, shared: int) -> PrefixTree:
    """Questions of 2 to 90 tokens behind a shared prefix, each with up to four choices of 1 to 40 tokens."""
    rng = random.Random(seed)

    def draw(n: int) -> list[int]:
        return [rng.randrange(VOCABULARY) for _ in range(n)]

    prefix, requests = draw(shared), []
    for _ in range(6):
        context = prefix + draw(rng.choice([2, 15, 30, 90]))
        for _ in range(rng.randrange(1, 5)):
            choice = draw(rng.choice([1, 2, 8, 40]))
            requests.append(TokenRequest(owner=len(requests), inputs=context + choice, targets=[0]))
    return build_tree(requests)


class Projections:
    """Queries, keys and values that depend on an entry's token and position alone."""

    def __init__(self, dtype: torch.dtype, kv_heads: int) -> None:
        made = torch.Generator().manual_seed(0)
        shapes = [(HEADS, n, SIZE) for n in (VOCABULARY, LONGEST)], [(kv_heads, n, SIZE) for n in (VOCABULARY, LONGEST)]
        self._tables = [
            [torch.randn(shape, generator=made, dtype=torch.float64).to(dtype) for shape in part]
            for part in (shapes[0], shapes[1], shapes[1])
        ]

    def __call__(self, token: np.ndarray, depth: np.ndarray) -> list[torch.Tensor]:
        return [(by_token[:, token] + by_depth[:, depth])[None] for by_token, by_depth in self._tables]


def packed(tree: PrefixTree, project: Projections, budget: int, carry_limit: int, **asked: object) -> tuple[torch.Tensor, set]:
    """(T, H, D) of all entries, batch by batch, and the kinds of products that were used."""
    carried: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    parts, used = [], set()
    for batch in cut_batches(tree, budget, carry_limit=carry_limit):
        used |= {kind for kind in KINDS if getattr(batch, kind)}
        state = TreeState(batch, carried, torch.device("cpu"))
        query, key, value = project(batch.tokens, batch.positions)
        with tree_state(state):
            out, _ = tree_attention(SimpleNamespace(layer_idx=0), query, key, value, None, **asked)
        carried = state.kept
        parts.append(out[0, batch.recomputed :])
        check_once(batch)
    return torch.cat(parts), used


def check_once(batch: Batch) -> None:
    """Each pair of a query and a key that it sees is in exactly one product."""
    n_queries, n_keys = len(batch.tokens), len(batch.key_depth)
    seen = np.zeros((n_queries, n_keys), dtype=np.int64)
    for start, stop in batch.causal:
        seen[start:stop, start + batch.carried : stop + batch.carried] += np.tri(stop - start, dtype=np.int64)
    for product in batch.masked:
        queries, keys = (product.query_start, product.query_stop), (product.key_start, product.query_stop + batch.carried)
        seen[slice(*queries), slice(*keys)] += product.allowed_QxK
    for dense in batch.dense:
        seen[dense.query_start : dense.query_stop, dense.key] += 1
    for group in batch.blocks:
        for query, key, allowed, valid in zip(
            group.query_BxQ, group.key_BxK, group.allowed_BxQxK, group.valid_BxQ, strict=True
        ):
            np.add.at(seen, (query[valid][:, None], key[None, :]), allowed[valid].astype(np.int64))
    query, key = np.arange(n_queries)[:, None] + batch.carried, np.arange(n_keys)[None, :]
    np.testing.assert_array_equal(seen, (key <= query) & (query < batch.key_end[None, :]))


def obvious(tree: PrefixTree, project: Projections, window: int | None, softcap: float | None) -> torch.Tensor:
    """(T, H, D): one softmax over all entries with the tree as its mask, in float64."""
    query, key, value = (part[0].double() for part in project(tree.token, tree.depth))
    key, value = (part.repeat_interleave(HEADS // len(part), 0) for part in (key, value))
    scores = (query @ key.transpose(-1, -2)) * SIZE**-0.5
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    entry = np.arange(len(tree.token))
    seen = (entry[None, :] <= entry[:, None]) & (entry[:, None] < tree.subtree_end[None, :])
    if window is not None:
        seen &= tree.depth[:, None] - tree.depth[None, :] < window
    return (scores.masked_fill(~torch.from_numpy(seen), -torch.inf).softmax(-1) @ value).transpose(0, 1)


@pytest.mark.parametrize("shared", [0, 10, 300])
@pytest.mark.parametrize(
    ("dtype", "kv_heads", "window", "softcap"),
    [
        (torch.float64, 2, None, None),
        (torch.float32, 1, None, None),
        (torch.float64, 1, 20, None),
        (torch.float64, 2, 70, 3.0),
        (torch.float32, 2, None, 3.0),
    ],
)
def test_every_entry_attends_to_its_own_path(
    shared: int, dtype: torch.dtype, kv_heads: int, window: int | None, softcap: float | None
) -> None:
    project = Projections(dtype, kv_heads)
    used: set[str] = set()
    for seed, (budget, carry_limit) in enumerate([(10**6, 10**6), (150, 10**6), (150, 0), (37, 10**6)]):
        tree = make_tree(seed, shared)
        asked = {"sliding_window": window, "softcap": softcap}
        found, kinds = packed(tree, project, budget, carry_limit, **asked)
        used |= kinds
        tolerance = 1e-10 if dtype == torch.float64 else 2e-5
        torch.testing.assert_close(found.double(), obvious(tree, project, window, softcap), rtol=0, atol=tolerance)
    assert used >= {"causal", "masked", "blocks"}
    assert shared == 0 or "dense" in used
