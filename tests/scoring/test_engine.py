"""The engine's promises: the same numbers however requests are mixed and cut, checks that bite, counters that add up."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast.core.errors import CheckpointError
from forecast.scoring import cpu_products, engine, packed_forward
from forecast.scoring.checkpoint_loading import LoadedCheckpoint, load_checkpoint
from forecast.scoring.engine import ScoringOptions, score_plan
from forecast.scoring.flops import forward_cost
from forecast.scoring.plan import make_plan
from forecast.scoring.requests import TokenRequest
from forecast.scoring.scored_head import ScoredHead
from forecast.scoring.tree_batches import cut_batches


@pytest.fixture(scope="module")
def checkpoint(make_checkpoint: Callable[..., Path]) -> LoadedCheckpoint:
    return load_checkpoint(make_checkpoint("gpt_neox"), dtype="float32", device="cpu")


def run(checkpoint: LoadedCheckpoint, requests: list[TokenRequest], **options: object) -> np.ndarray:
    values = np.full(len(requests), np.nan)
    for done in score_plan(
        checkpoint, make_plan(requests), ScoringOptions(**options), on_notice=pytest.fail, name_request="request {}".format
    ):
        values[done.request] = done.loglikelihood
    return values


def questions(seed: int = 0, n: int = 12, shared: int = 40) -> list[TokenRequest]:
    """Questions with four choices, most behind one long shared prefix."""
    rng = random.Random(seed)
    prefix = [rng.randrange(320) for _ in range(shared)]
    made = []
    for question in range(n):
        context = (prefix if question % 3 else prefix[:5]) + [rng.randrange(320) for _ in range(rng.choice([2, 9, 30]))]
        for _ in range(4):
            choice = [rng.randrange(320) for _ in range(rng.choice([1, 1, 3, 25]))]
            whole = (context + choice)[:128]
            made.append(TokenRequest(owner=len(made), inputs=tuple(whole[:-1]), targets=tuple(whole[len(context) :])))
    return made


REQUEST = st.tuples(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.lists(st.integers(0, 319), min_size=1, max_size=4))


@given(pairs=st.lists(REQUEST, min_size=1, max_size=12), budget=st.integers(1, 80), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_shuffled_duplicated_and_split_requests_give_the_same_numbers(
    checkpoint: LoadedCheckpoint, pairs: list[tuple[list[int], list[int]]], budget: int, seed: int
) -> None:
    requests = [
        TokenRequest(owner=i, inputs=tuple(context + targets[:-1]), targets=tuple(targets))
        for i, (context, targets) in enumerate(pairs)
    ]
    whole = run(checkpoint, requests)
    order = random.Random(seed).sample(range(len(requests)), len(requests))
    shuffled = run(checkpoint, [requests[i] for i in order] + requests, token_budget=budget)
    np.testing.assert_allclose(shuffled[: len(order)], whole[order], atol=1e-4)
    np.testing.assert_allclose(shuffled[len(order) :], whole, atol=1e-4)
    half = len(requests) // 2
    parts = [run(checkpoint, part, token_budget=budget) for part in (requests[:half], requests[half:]) if part]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-4)


@pytest.mark.parametrize("budget", [1, 7, 33, 200, 10**6])
@pytest.mark.parametrize("carry_bytes", [0, 1 << 30])
def test_the_batch_budget_changes_no_number(
    checkpoint: LoadedCheckpoint, budget: int, carry_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = questions(n=6)
    expected = run(checkpoint, requests, deterministic=True)
    monkeypatch.setattr(engine, "CARRY_BYTES", carry_bytes)
    np.testing.assert_allclose(run(checkpoint, requests, token_budget=budget), expected, atol=1e-4)


def test_deterministic_scoring_gives_the_same_bits_whatever_the_budget(checkpoint: LoadedCheckpoint) -> None:
    requests = questions(n=5)
    first = run(checkpoint, requests, deterministic=True, token_budget=10)
    second = run(checkpoint, requests[::-1], deterministic=True, token_budget=10**5)[::-1]
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("onednn", [False, True])
def test_nothing_is_computed_twice_and_counters_add_up(
    checkpoint: LoadedCheckpoint, onednn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if onednn and not torch.backends.mkldnn.is_available():
        pytest.skip("this build of torch has no oneDNN")
    monkeypatch.setattr(cpu_products, "onednn_is_faster", lambda: onednn)
    requests = questions()
    plan = make_plan(requests)
    distinct = {request.inputs[:n] for request in requests for n in range(1, len(request.inputs) + 1)}
    assert plan.tokens_unique == len(distinct)
    assert plan.tokens_requested == sum(len(request.inputs) for request in requests)
    done = list(score_plan(checkpoint, plan, ScoringOptions(token_budget=50), on_notice=pytest.fail, name_request=str))
    assert sum(part.tokens_computed for part in done) == len(distinct)
    n_batches = len(list(cut_batches(plan.tree, 50, carry_limit=10**6)))
    padded = sum(part.tokens_padded for part in done)
    assert 0 < padded < cpu_products.ROW_STEP * n_batches if onednn else padded == 0
    cost = forward_cost(checkpoint.model, checkpoint.params_non_embedding)
    bound = cost.bound(plan.tree)
    assert bound <= sum(part.flops for part in done) - padded * cost.per_token < 1.5 * bound


def test_flop_bound_counts_what_one_sequence_needs(checkpoint: LoadedCheckpoint) -> None:
    cost = forward_cost(checkpoint.model, checkpoint.params_non_embedding)
    plan = make_plan([TokenRequest(owner=0, inputs=(1, 2, 3), targets=(4,))])
    width, layers = 32, 2
    expected = 3 * 2 * checkpoint.params_non_embedding + (1 + 2 + 3) * 4 * layers * width + 2 * 320 * width
    assert cost.bound(plan.tree) == expected


def test_a_wrong_fast_path_is_caught_named_and_replaced(checkpoint: LoadedCheckpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = questions(n=4)
    expected = run(checkpoint, requests, deterministic=True)
    honest = ScoredHead.score

    def shifted(self: ScoredHead, *arguments: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores, greedy = honest(self, *arguments)
        return scores + 0.01, greedy

    monkeypatch.setattr(packed_forward.ScoredHead, "score", shifted)
    notices: list[str] = []
    values = np.zeros(len(requests))
    for done in score_plan(checkpoint, make_plan(requests), ScoringOptions(), on_notice=notices.append, name_request=str):
        values[done.request] = done.loglikelihood
    assert len(notices) == 1
    assert "gpt_neox" in notices[0]
    assert "plain way" in notices[0]
    np.testing.assert_allclose(values, expected, atol=1e-4)


@pytest.mark.parametrize("options", [{}, {"deterministic": True}])
def test_a_nan_fails_the_checkpoint_and_names_the_request(
    make_checkpoint: Callable[..., Path], options: dict[str, bool]
) -> None:
    damaged = load_checkpoint(make_checkpoint("gpt_neox"), dtype="float32", device="cpu")
    damaged.model.gpt_neox.embed_in.weight[7] = float("nan")
    requests = [
        TokenRequest(owner=0, inputs=(1, 2), targets=(3,)),
        TokenRequest(owner=1, inputs=(1, 7), targets=(3,)),
    ]
    with pytest.raises(CheckpointError, match="request 1"):
        run(damaged, requests, **options)


def test_out_of_memory_halves_the_budget_and_goes_on(checkpoint: LoadedCheckpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = questions()
    expected = run(checkpoint, requests)
    honest = packed_forward.PackedModel.score_batch
    sizes: list[int] = []

    def cramped(self: packed_forward.PackedModel, batch: object, target: torch.Tensor) -> object:
        sizes.append(len(batch.tokens))
        if len(batch.tokens) > 100:
            raise torch.OutOfMemoryError("no room")
        return honest(self, batch, target)

    monkeypatch.setattr(packed_forward.PackedModel, "score_batch", cramped)
    np.testing.assert_allclose(run(checkpoint, requests, token_budget=256), expected, atol=1e-4)
    assert max(sizes) > 100 >= min(sizes)


def test_a_foreign_tokenizer_is_refused_before_anything_is_computed(checkpoint: LoadedCheckpoint) -> None:
    with pytest.raises(CheckpointError, match="token 999"):
        run(checkpoint, [TokenRequest(owner=0, inputs=(1, 999), targets=(3,))])


@pytest.mark.parametrize("vocabulary", [5, 2048, 5000])
def test_the_tiled_head_is_a_log_softmax(vocabulary: int) -> None:
    generator = torch.Generator().manual_seed(vocabulary)
    head = torch.nn.Linear(16, vocabulary, bias=True).requires_grad_(False)
    hidden = torch.randn((700, 16), generator=generator)
    scored = torch.arange(700).repeat_interleave(2)
    target = torch.randint(vocabulary, (1400,), generator=generator)
    logits = head(hidden).double()
    target[::2] = logits.argmax(-1)  # Half of the rows are greedy.
    scores, greedy = ScoredHead(head, torch.nn.Module()).score(hidden, scored, target)
    expected = logits.log_softmax(-1)[scored, target]
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=0)
    assert greedy.tolist() == (logits.argmax(-1)[scored] == target).tolist()


def test_of_equal_logits_the_first_token_is_the_greedy_one() -> None:
    head = torch.nn.Linear(4, 4100, bias=False).requires_grad_(False)
    head.weight.zero_()
    scores, greedy = ScoredHead(head, torch.nn.Module()).score(
        torch.ones((1, 4)), torch.zeros(3, dtype=torch.long), torch.tensor([0, 1, 4000])
    )
    assert greedy.tolist() == [True, False, False]
    torch.testing.assert_close(scores, torch.full((3,), -np.log(4100), dtype=torch.float64))


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_attention_sees_the_same_tree(checkpoint: LoadedCheckpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path for CUDA, on the CPU: its mask and its carried keys must give the same numbers."""
    from forecast.scoring import tree_attention

    requests = questions(n=6)
    expected = run(checkpoint, requests)

    def joined(
        state: tree_attention.TreeState, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *rest: object
    ) -> torch.Tensor:
        # On CUDA no positions are appended.
        appended = query.shape[2] - len(state.batch.tokens)
        own = slice(0, query.shape[2] - appended), slice(0, key.shape[2] - appended)
        parts = query[:, :, own[0]], key[:, :, own[1]], value[:, :, own[1]]
        out = tree_attention._flex(state, *parts, *rest)[0].transpose(0, 1)
        return torch.nn.functional.pad(out, (0, 0, 0, 0, 0, appended))

    monkeypatch.setattr(tree_attention, "_joined_products", joined)
    np.testing.assert_allclose(run(checkpoint, requests, token_budget=60), expected, atol=1e-4)


@pytest.mark.parametrize("deterministic", [False, True])
def test_each_tokens_loglikelihood_adds_up_to_the_requests(checkpoint: LoadedCheckpoint, deterministic: bool) -> None:
    requests = questions(seed=3)
    seen = 0
    for done in score_plan(
        checkpoint,
        make_plan(requests),
        ScoringOptions(deterministic=deterministic, token_budget=150),
        on_notice=pytest.fail,
        name_request="request {}".format,
    ):
        counts = [len(requests[index].targets) for index in done.request]
        parts = np.split(done.token_loglikelihood, np.cumsum(counts)[:-1])
        for index, part, total in zip(done.request, parts, done.loglikelihood, strict=True):
            request = requests[index]
            with torch.no_grad():
                log_p = checkpoint.model(torch.tensor([list(request.inputs)])).logits[0].log_softmax(-1)
            at = range(len(request.inputs) - len(request.targets), len(request.inputs))
            expected = [float(log_p[position, target]) for position, target in zip(at, request.targets, strict=True)]
            np.testing.assert_allclose(part, expected, atol=1e-4)
            assert np.add.reduce(part) == pytest.approx(total, abs=1e-12)
            seen += 1
    assert seen == len(requests)
