"""Answers: those of lm-eval's `hf` backend, whatever is shared; draws of the exact probabilities, whatever the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from scipy import stats

from forecast.core.errors import CheckpointError, InputError
from forecast.scoring import decode_forward, generation
from forecast.scoring.answer_text import encode_prompts, fit_prompt
from forecast.scoring.checkpoint_loading import LoadedCheckpoint, load_checkpoint
from forecast.scoring.decoding import Decoding
from forecast.scoring.generation import WrittenAnswer, write_answers
from forecast.scoring.generation_plan import Prompt, cut_blocks

HEADER = "the cat sat on the mat. " * 3
ENDINGS = ("the dog ran to", "a red barn and", "an apple", "the mat the mat the", "it", "cats ate the dog in the barn")
UNTIL = ("e", "on")


def plan(
    checkpoint: LoadedCheckpoint,
    texts: Sequence[str],
    *,
    until: Sequence[str] = UNTIL,
    new: int = 20,
    temperature: float = 0.0,
    samples: int = 1,
    **settings: object,
) -> list[Prompt]:
    kind = Decoding(
        until=tuple(until),
        max_new_tokens=new,
        samples=samples,
        temperature=temperature,
        **settings,  # type: ignore[arg-type]
    )
    tokens = encode_prompts(checkpoint.tokenizer, texts)
    return [
        Prompt(item=i, tokens=tuple(fit_prompt(row, window=checkpoint.max_length, new_tokens=new, item=i)), decoding=kind)
        for i, row in enumerate(tokens)
    ]


def answers(
    checkpoint: LoadedCheckpoint, prompts: Sequence[Prompt], **settings: object
) -> dict[tuple[int, int], WrittenAnswer]:
    notice = settings.pop("on_notice", pytest.fail)
    found = write_answers(
        checkpoint,
        prompts,
        wanted=settings.pop("wanted", range(len(prompts))),  # type: ignore[arg-type]
        on_notice=notice,  # type: ignore[arg-type]
        name_item="item {}".format,
        **settings,  # type: ignore[arg-type]
    )
    return {(answer.prompt, answer.sample): answer for part in found for answer in part.answers}


def lm_eval_answers(folder: Path, window: int, texts: Sequence[str], kwargs: dict[str, object]) -> list[str]:
    backend = HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=1, max_length=window)
    requests = [
        Instance(request_type="generate_until", doc={}, arguments=(text, dict(kwargs)), idx=0, metadata=("t", i, 1))
        for i, text in enumerate(texts)
    ]
    found: list[str] = backend.generate_until(requests, disable_tqdm=True)
    return found


@pytest.mark.parametrize(
    "architecture", ["gpt_neox", "llama", "qwen3", "mistral", "gemma2", "gemma3", "olmo2", "gpt2", "opt", "bloom", "mamba"]
)
def test_answers_are_lm_evals(make_checkpoint: Callable[..., Path], architecture: str) -> None:
    folder = make_checkpoint(architecture, seed=5)
    checkpoint = load_checkpoint(folder, dtype="float32", device="cpu")
    texts = [HEADER + ending for ending in ENDINGS] + [HEADER * 3 + "too long for the window", "short"]
    said: list[str] = []
    found = answers(checkpoint, plan(checkpoint, texts), on_notice=said.append)
    expected = lm_eval_answers(folder, min(checkpoint.max_length, 4096), texts, {"until": list(UNTIL), "max_gen_toks": 20})
    assert [found[i, 0].text for i in range(len(texts))] == expected
    assert bool(said) == (architecture in {"bloom", "mamba"}), said
    # Random weights may repeat one token for ever; some do not.
    assert architecture not in {"llama", "gpt2"} or any(answer.stopped for answer in found.values())


@pytest.fixture(name="checkpoint", scope="module")
def checkpoint_fixture(make_checkpoint: Callable[..., Path]) -> LoadedCheckpoint:
    return load_checkpoint(make_checkpoint("llama", seed=7), dtype="float32", device="cpu")


def test_answers_do_not_depend_on_blocks_or_on_what_is_wanted(checkpoint: LoadedCheckpoint) -> None:
    texts = [HEADER + ending for ending in ENDINGS]
    prompts = plan(checkpoint, texts, temperature=0.9, samples=5)
    whole = answers(checkpoint, prompts, seed=3)
    assert len(whole) == 30
    for settings in ({"positions": 100}, {"positions": 40}, {"alone": True}, {"positions": 700, "wanted": {2, 4}}):
        part = answers(checkpoint, prompts, seed=3, **settings)
        assert all(part[key] == whole[key] for key in part)
        assert {key[0] for key in part} >= {2, 4}
    assert answers(checkpoint, prompts, seed=4) != whole


def test_the_header_is_computed_once(checkpoint: LoadedCheckpoint) -> None:
    prompts = plan(checkpoint, [HEADER + ending for ending in ENDINGS], new=2, until=())
    header = cut_blocks(prompts, 100)[0].header
    assert header > 20
    parts = list(write_answers(checkpoint, prompts, wanted=range(6), positions=30, on_notice=pytest.fail, name_item=str))
    own = sum(len(prompt.tokens) - header for prompt in prompts)
    assert len(parts) > 1
    assert header + own <= sum(part.tokens_computed for part in parts) <= header + own + 6


def test_drawn_tokens_have_their_exact_probabilities(checkpoint: LoadedCheckpoint) -> None:
    texts = ["the cat sat on"]
    for settings, cut in (({"temperature": 1.0}, 1.0), ({"temperature": 0.7, "top_p": 0.8}, 0.8)):
        prompts = plan(checkpoint, texts, new=1, until=(), samples=3000, **settings)
        found = answers(checkpoint, prompts, seed=11)
        logits = checkpoint.model(torch.tensor([prompts[0].tokens])).logits[0, -1].double()
        p = torch.softmax(logits / settings["temperature"], -1).detach().numpy()
        order = np.argsort(-p)
        kept = order[: int(np.searchsorted(np.cumsum(p[order]), cut)) + 1] if cut < 1 else order
        q = np.zeros_like(p)
        q[kept] = p[kept] / p[kept].sum()
        texts_of = [checkpoint.tokenizer.decode([i], skip_special_tokens=True) for i in range(len(p))]
        counts: dict[str, float] = {}
        expected: dict[str, float] = {}
        for answer in found.values():
            counts[answer.text] = counts.get(answer.text, 0) + 1
        for text, share in zip(texts_of, q, strict=True):
            expected[text] = expected.get(text, 0.0) + 3000 * share
        assert set(counts) <= {text for text, mass in expected.items() if mass > 0}
        common = [text for text, mass in expected.items() if mass >= 5]
        rest = 3000 - sum(expected[text] for text in common)
        observed = [counts.get(text, 0) for text in common] + [3000 - sum(counts.get(text, 0) for text in common)]
        wanted = [expected[text] for text in common] + [rest]
        if rest < 1e-6:
            observed, wanted = observed[:-1], wanted[:-1]
        assert stats.chisquare(observed, np.array(wanted) * sum(observed) / sum(wanted)).pvalue > 1e-3


def test_a_wrong_fast_way_is_noticed(checkpoint: LoadedCheckpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = plan(checkpoint, [HEADER + ending for ending in ENDINGS])
    expected = answers(checkpoint, prompts)
    read = decode_forward.DecodeModel._read_prompts

    def blurred(self: decode_forward.DecodeModel, *asked: object) -> torch.Tensor:
        hidden: torch.Tensor = read(self, *asked)  # type: ignore[arg-type]
        return hidden * 1.05

    monkeypatch.setattr(decode_forward.DecodeModel, "_read_prompts", blurred)
    said: list[str] = []
    assert answers(checkpoint, prompts, on_notice=said.append) == expected
    assert "the fast way and the plain one differ" in said[0]


def test_out_of_memory_halves_the_block(checkpoint: LoadedCheckpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = plan(checkpoint, [HEADER + ending for ending in ENDINGS], temperature=1.0, samples=3)
    expected = answers(checkpoint, prompts)
    write = decode_forward.DecodeModel.write

    def scarce(self: object, prompts: object, block: generation.Block, *rest: object, **more: object) -> object:
        if block.rows > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return write(self, prompts, block, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(decode_forward.DecodeModel, "write", scarce)
    assert answers(checkpoint, prompts) == expected


def test_settings_that_a_checkpoint_ships_are_honoured(checkpoint: LoadedCheckpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint.model.generation_config, "repetition_penalty", 1.3)
    said: list[str] = []
    prompts = plan(checkpoint, [HEADER + "the mat", "the dog"])
    found = answers(checkpoint, prompts, on_notice=said.append)
    assert "repetition_penalty" in said[0]
    monkeypatch.undo()
    assert found != answers(checkpoint, prompts)


def test_logits_that_are_no_numbers_name_the_item(make_checkpoint: Callable[..., Path]) -> None:
    checkpoint = load_checkpoint(make_checkpoint("gpt_neox", seed=9), dtype="float32", device="cpu")
    with torch.no_grad():
        checkpoint.model.get_output_embeddings().weight[3] = torch.nan
    with pytest.raises(CheckpointError, match="item 1: a logit of its answer is NaN"):
        answers(checkpoint, plan(checkpoint, ["the cat", "the dog and the barn"]))


def test_prompts_are_cut_on_the_left_and_the_limit_must_leave_room() -> None:
    assert fit_prompt(list(range(10)), window=12, new_tokens=4, item=0) == list(range(2, 10))
    with pytest.raises(InputError, match="may have 12 tokens, and the model's window 12"):
        fit_prompt([1], window=12, new_tokens=12, item=3)
    with pytest.raises(InputError, match="no token"):
        fit_prompt([], window=12, new_tokens=2, item=3)
