"""Mask and compiled kernels of the CUDA path, as far as a CPU can tell: who sees whom, and how many graphs there are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounter

from forecast.scoring import flex_tree
from forecast.scoring.flex_tree import BLOCK, compiled, flex_tree_attention, tree_mask
from forecast.scoring.plan import make_plan
from forecast.scoring.requests import TokenRequest
from forecast.scoring.tree_batches import Batch, cut_batches

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")


def batches(seed: int = 0, *, budget: int = 700, header: int = 150) -> list[Batch]:
    """Questions of several choices behind one long header, cut so that it is carried from batch to batch."""
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 50, header).tolist()
    requests = []
    for question in range(40):
        body = first + rng.integers(0, 50, int(rng.integers(5, 60))).tolist()
        for _ in range(4):
            tail = rng.integers(0, 50, int(rng.integers(1, 6))).tolist()
            requests.append(TokenRequest(owner=question, inputs=(body + tail)[:-1], targets=tuple(tail)))
    return list(cut_batches(make_plan(requests).tree, budget, carry_limit=4096))


def dense(batch: Batch, window: int | None) -> np.ndarray:
    at = np.arange(len(batch.tokens))[:, None] + batch.carried
    key = np.arange(len(batch.key_end))[None, :]
    seen = (key <= at) & (at < batch.key_end[None, :])
    if window is not None:
        seen &= batch.key_depth[at[:, 0]][:, None] - batch.key_depth[None, :] < window
    return seen


@pytest.mark.parametrize("window", [None, 40, 3])
def test_the_mask_is_the_tree(window: int | None) -> None:
    made = batches()
    assert any(batch.carried for batch in made)
    found = []
    for batch in made:
        mask = tree_mask(batch, window, torch.device("cpu"))
        expected = dense(batch, window)
        q, k = (torch.arange(size) for size in expected.shape)
        seen = mask.mask_mod(torch.tensor(0), torch.tensor(0), q[:, None], k[None, :]).numpy()
        np.testing.assert_array_equal(seen, expected)
        rows, columns = (-(-size // BLOCK) for size in expected.shape)
        some, every = np.zeros((rows, columns), bool), np.zeros((rows, columns), bool)
        for flags, counts, indices in (
            (some, mask.kv_num_blocks, mask.kv_indices),
            (every, mask.full_kv_num_blocks, mask.full_kv_indices),
        ):
            for row in range(rows):
                flags[row, indices[0, 0, row, : int(counts[0, 0, row])].numpy()] = True
        assert not (some & every).any()
        for row in range(rows):
            for column in range(columns):
                part = expected[row * BLOCK : (row + 1) * BLOCK, column * BLOCK : (column + 1) * BLOCK]
                assert part.all() or not every[row, column]
                assert not part.any() or some[row, column] or every[row, column]
        found.append(every.any())
    assert window is not None or any(found)


@pytest.mark.parametrize("window", [None, 40])
@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("key_heads", [4, 2])
def test_attention_is_that_of_a_dense_mask(window: int | None, softcap: float | None, key_heads: int) -> None:
    torch.manual_seed(0)
    for batch in batches(1)[:2]:
        query = torch.randn(1, 4, len(batch.tokens), 16, dtype=torch.float64)
        key, value = (torch.randn(1, key_heads, len(batch.key_end), 16, dtype=torch.float64) for _ in range(2))
        found = flex_tree_attention(tree_mask(batch, window, query.device), query, key, value, scale=0.3, softcap=softcap)
        wide_key, wide_value = (part.repeat_interleave(4 // key_heads, 1) for part in (key, value))
        scores = 0.3 * query @ wide_key.mT
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        scores.masked_fill_(~torch.from_numpy(dense(batch, window)), -torch.inf)
        torch.testing.assert_close(found, scores.softmax(-1) @ wide_value)


def test_a_sweep_over_many_shapes_keeps_few_graphs_for_each() -> None:
    """A family has a dozen shapes, the compiler's limit is eight graphs; windows, carried keys and batch sizes add none."""
    torch._dynamo.reset()
    made = [*batches(2)[:2], *batches(3, budget=400)[:2]]
    assert len({(len(batch.tokens), len(batch.key_end)) for batch in made}) == 4
    for heads in (1, 2, 3, 4, 5, 6, 8, 10, 12):
        counter = CompileCounter()
        kernel = compiled((torch.device("cpu"), torch.float32, heads, heads, 16, None), counter)
        for batch in made:
            for window in (None, 40):
                mask = tree_mask(batch, window, torch.device("cpu"))
                query = torch.randn(1, heads, len(batch.tokens), 16)
                key = torch.randn(1, heads, len(batch.key_end), 16)
                kernel(query, key, key, mask, None, 0.25)
        assert 1 <= counter.frame_count <= 4, f"{counter.frame_count} graphs for {heads} heads"


def test_running_out_of_graphs_is_an_error() -> None:
    torch._dynamo.reset()
    flex_tree.compiled.cache_clear()
    kernel = compiled((torch.device("cpu"), torch.float32, 1, 1, 16, None), CompileCounter())
    [batch, *_] = batches(4)
    mask = tree_mask(batch, None, torch.device("cpu"))

    def use(heads: int) -> None:
        query, key = torch.randn(1, heads, len(batch.tokens), 16), torch.randn(1, heads, len(batch.key_end), 16)
        kernel(query, key, key, mask, None, 0.25)

    with torch._dynamo.config.patch(recompile_limit=1):
        use(1)
        with pytest.raises(torch._dynamo.exc.FailOnRecompileLimitHit):
            use(2)
