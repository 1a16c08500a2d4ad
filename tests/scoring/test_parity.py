"""Every number is lm-eval's: item by item against its own `hf` backend, and against float64 scoring one request at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from forecast.scoring.checkpoint_loading import LoadedCheckpoint, load_checkpoint
from forecast.scoring.engine import ScoringOptions, score_plan
from forecast.scoring.plan import make_plan
from forecast.scoring.requests import TextRequest
from forecast.scoring.tokenization import Encoder

PACKED = (
    "gpt_neox",
    "gpt_neox_serial",
    "llama",
    "qwen2",
    "qwen3",
    "mistral",
    "gemma",
    "gemma2",
    "gemma3",
    "olmo",
    "olmo2",
    "gpt2",
    "opt",
    "opt_350m",
)
PLAIN = ("bloom", "falcon_alibi", "mamba")

FEWSHOT = "Q: does the cat sit?\nA: yes\n\nQ: did the dog run?\nA: no\n\n"
PAIRS = [
    *((f"{FEWSHOT}Q: is the barn red?\nA:", f" {choice}") for choice in ("yes", "no", "perhaps not", "e")),
    *((f"{FEWSHOT}Q: who ate an apple?\nA:", f" {choice}") for choice in ("the dog", "the cat", "nobody at all")),
    ("the cat ", "sat on the mat"),
    ("the cat \n\t ", "sat"),
    ("", "the red barn"),
    ("", "<|endoftext|>the mat"),
    ("<|endoftext|>the cat", " sat"),
    ("naïve 北京 🙂", " 東京 é🙃"),
    ("a b c d e f g h " * 12, " and ran to the red barn " * 6),
    ("the dog", " ran to the red barn and ate an apple on the mat of the cat" * 5),
    ("the dog ran" * 60, " far"),
    ("the dog ran" * 60, " to the mat"),
    ("q", "r"),
]
WINDOW = 128


def texts() -> list[TextRequest]:
    return [TextRequest(item_idx=i, choice_idx=0, context=ctx, continuation=cont) for i, (ctx, cont) in enumerate(PAIRS)]


def score(
    checkpoint: LoadedCheckpoint, requests: list[TextRequest], **options: object
) -> tuple[list[tuple[float, bool]], list[str]]:
    """Loglikelihood and greediness of each request, and the notices."""
    encoded = Encoder(checkpoint.tokenizer, max_length=checkpoint.max_length).encode_requests(requests)
    sums = np.zeros(len(requests))
    greedy = np.ones(len(requests), dtype=bool)
    seen = np.zeros(len(encoded), dtype=int)
    notices: list[str] = []
    for done in score_plan(
        checkpoint, make_plan(encoded), ScoringOptions(**options), on_notice=notices.append, name_request=str
    ):
        for index, value, is_greedy in zip(done.request, done.loglikelihood, done.is_greedy, strict=True):
            owner = encoded[index].owner
            sums[owner] += value
            greedy[owner] &= is_greedy
            seen[index] += 1
    assert (seen == 1).all()
    return [(float(value), bool(flag)) for value, flag in zip(sums, greedy, strict=True)], notices


def lm_eval_scores(checkpoint: LoadedCheckpoint, requests: list[TextRequest]) -> list[tuple[float, bool]]:
    theirs = HFLM(pretrained=checkpoint.model, tokenizer=checkpoint.tokenizer, batch_size=4)
    results: list[tuple[float, bool]] = []
    for request in requests:
        if request.rolling:
            made = Instance("loglikelihood_rolling", {}, (request.continuation,), 0)
            results.append((theirs.loglikelihood_rolling([made], disable_tqdm=True)[0], True))
        else:
            made = Instance("loglikelihood", {}, (request.context, request.continuation), 0)
            results.append(theirs.loglikelihood([made], disable_tqdm=True)[0])
    return results


def oracle(checkpoint: LoadedCheckpoint, requests: list[TextRequest]) -> list[float]:
    """float64, one request at a time, straight from the logits."""
    model = checkpoint.model.double()
    values = []
    for request in Encoder(checkpoint.tokenizer, max_length=checkpoint.max_length).encode_requests(requests):
        with torch.no_grad():
            logits = model(torch.tensor([list(request.inputs)])).logits[0].log_softmax(-1)
        at = range(len(request.inputs) - len(request.targets), len(request.inputs))
        values.append(sum(float(logits[i, target]) for i, target in zip(at, request.targets, strict=True)))
    checkpoint.model.float()
    return values


@pytest.fixture(scope="module")
def load(make_checkpoint: Callable[..., Path]) -> Callable[..., LoadedCheckpoint]:
    return lambda architecture, **size: load_checkpoint(
        make_checkpoint(architecture, **{"window": WINDOW, **size}), dtype="float32", device="cpu"
    )


@pytest.mark.parametrize("architecture", [*PACKED, *PLAIN])
def test_every_request_agrees_with_lm_eval_and_with_float64(architecture: str, load: Callable[..., LoadedCheckpoint]) -> None:
    checkpoint = load(architecture)
    # lm-eval takes 2048 where a configuration names no window.
    requests = texts()
    ours, notices = score(checkpoint, requests, token_budget=96)
    theirs = lm_eval_scores(checkpoint, requests)
    exact = oracle(checkpoint, requests)
    assert bool(notices) == (architecture in PLAIN), notices
    assert [flag for _, flag in ours] == [flag for _, flag in theirs]
    np.testing.assert_allclose([value for value, _ in ours], [value for value, _ in theirs], atol=1e-3)
    np.testing.assert_allclose([value for value, _ in ours], exact, atol=1e-3)


@pytest.mark.parametrize("architecture", ["gpt_neox", "llama", "gpt2"])
def test_rolling_texts_agree_with_lm_eval(architecture: str, load: Callable[..., LoadedCheckpoint]) -> None:
    checkpoint = load(architecture, window=32)
    requests = [
        TextRequest(item_idx=i, choice_idx=0, context="", continuation=text, rolling=True)
        for i, text in enumerate(["the cat sat on the mat. " * 9, "é", "<|endoftext|> the dog", "the mat " * 8])
    ]
    ours, _ = score(checkpoint, requests)
    theirs = lm_eval_scores(checkpoint, requests)
    np.testing.assert_allclose([value for value, _ in ours], [value for value, _ in theirs], atol=1e-3)


def test_a_tokenizer_that_adds_a_beginning_agrees_with_lm_eval(
    load: Callable[..., LoadedCheckpoint], tokenizer: transformers.PreTrainedTokenizerFast
) -> None:
    from dataclasses import replace

    from tokenizers.processors import TemplateProcessing

    copy = transformers.PreTrainedTokenizerFast(
        tokenizer_object=type(tokenizer.backend_tokenizer).from_str(tokenizer.backend_tokenizer.to_str()),
        bos_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        model_max_length=10**30,
    )
    copy.backend_tokenizer.post_processor = TemplateProcessing(single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)])
    checkpoint = replace(load("llama"), tokenizer=copy)
    assert copy("the cat")["input_ids"][0] == 0
    ours, _ = score(checkpoint, texts())
    theirs = lm_eval_scores(checkpoint, texts())
    np.testing.assert_allclose([value for value, _ in ours], [value for value, _ in theirs], atol=1e-3)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("architecture", ["gpt_neox", "gemma2", "mistral"])
def test_narrow_types_stay_near_float32(architecture: str, dtype: str, make_checkpoint: Callable[..., Path]) -> None:
    folder = make_checkpoint(architecture)
    narrow, notices = score(load_checkpoint(folder, dtype=dtype, device="cpu"), texts())
    wide, _ = score(load_checkpoint(folder, dtype="float32", device="cpu"), texts())
    assert not notices
    np.testing.assert_allclose([value for value, _ in narrow], [value for value, _ in wide], rtol=0.02, atol=0.3)
