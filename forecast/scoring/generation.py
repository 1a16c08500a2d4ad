"""Writes a task's answers with one loaded checkpoint: the fast way, checked against the plain one, or the plain one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import LogitsProcessor, StoppingCriteria

from forecast.core.errors import CheckpointError
from forecast.core.failures import say_failure
from forecast.scoring.answer_text import AnswerReader, encode_prompts, end_tokens, fit_prompt
from forecast.scoring.checkpoint_loading import LoadedCheckpoint
from forecast.scoring.decode_forward import DecodeModel, Row, WrittenBlock
from forecast.scoring.decoding import Decoding
from forecast.scoring.device_memory import is_out_of_memory, release_cached_memory
from forecast.scoring.draws import RowDraws, drawn_tokens
from forecast.scoring.engine import TOLERANCE
from forecast.scoring.generation_plan import Block, Prompt, cut_blocks
from forecast.scoring.plain_forward import PlainInput, score_inputs
from forecast.scoring.requests import GenerationRequest
from forecast.scoring.tree_attention import UnsupportedAttentionError

CACHE_BYTES = {"cpu": 512 << 20, "cuda": 8 << 30}
"""Keys and values of the answers that are written side by side. Fixed, so that a resumed evaluation cuts the same blocks."""
_MOST_POSITIONS = 1 << 16
_CHECKED = 4
"""Answers of the first block whose probabilities are compared with the plain way's."""
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "repetition_penalty": (None, 1.0),
    "no_repeat_ngram_size": (None, 0),
    "min_length": (None, 0),
    "min_new_tokens": (None, 0),
    "num_beams": (None, 1),
    "bad_words_ids": (None,),
    "forced_bos_token_id": (None,),
    "forced_eos_token_id": (None,),
    "suppress_tokens": (None,),
    "begin_suppress_tokens": (None,),
    "sequence_bias": (None,),
    "exponential_decay_length_penalty": (None,),
    "guidance_scale": (None, 1.0),
    "penalty_alpha": (None, 0.0),
}
"""Generation settings that a checkpoint may ship and that change greedy answers, with the values that do not."""


@dataclass(frozen=True, kw_only=True)
class WrittenAnswer:
    """One finished answer."""

    prompt: int
    """Position of its prompt in the plan."""
    sample: int
    text: str
    n_tokens: int
    stopped: bool
    """Whether a stop string or the end of text came; False where the token limit did."""


@dataclass(frozen=True, kw_only=True)
class WrittenAnswers:
    """Answers that were finished together, and what they cost."""

    answers: Sequence[WrittenAnswer]
    tokens_computed: int
    tokens_padded: int
    flops: float


def write_answers(
    checkpoint: LoadedCheckpoint,
    prompts: Sequence[Prompt],
    *,
    wanted: Collection[int],
    seed: int = 0,
    positions: int | None = None,
    alone: bool = False,
    on_notice: Callable[[str], None],
    name_item: Callable[[int], str],
) -> Iterator[WrittenAnswers]:
    """Yield answers block by block; only blocks with a wanted prompt are computed, with the tokens that they always get.

    Args:
        checkpoint: the model.
        prompts: the whole plan.
        wanted: positions of the prompts whose answers are wanted; what else a block holds is written with it.
        seed: of drawn answers.
        positions: tokens held at a time; None chooses by the model.
        alone: one prompt per block, so that its bits do not depend on its neighbours.
        on_notice: where a sentence about the way goes.
        name_item: names a prompt's item, for errors.

    Raises:
        CheckpointError: a logit is not a number, or memory does not suffice for one answer.
    """
    held = 1 if alone else positions or _positions(checkpoint)
    readers = {
        kind: AnswerReader(checkpoint.tokenizer, kind.until, end_tokens(checkpoint.model, checkpoint.tokenizer))
        for kind in dict.fromkeys(prompt.decoding for prompt in prompts)
    }
    special = _special_settings(checkpoint.model)
    writer: DecodeModel | None = None
    try:
        if special:
            raise UnsupportedAttentionError(f"its generation settings have {', '.join(special)}")
        writer = DecodeModel(checkpoint, seed=seed, name_item=name_item)
    except UnsupportedAttentionError as reason:
        on_notice(f"answers are written the plain way, one at a time: {reason}")
    checked = False
    for block in cut_blocks(prompts, held):
        if not any(index in wanted for index in block.prompts):
            continue
        kind = prompts[block.prompts[0]].decoding
        if writer is not None and not kind.other:
            try:
                for written in _within_memory(writer, prompts, block, readers[kind], traced=0 if checked else _CHECKED):
                    if not checked:
                        _compare_with_plain(checkpoint, prompts, written)
                        checked = True
                    yield _finished(written, readers[kind])
                continue
            except UnsupportedAttentionError as reason:
                if checked:
                    raise
                on_notice(f"answers are written the plain way, one at a time: {reason}")
                writer = None
        yield from _plainly(checkpoint, prompts, block, readers[kind], seed, name_item)


def plan_prompts(
    checkpoint: LoadedCheckpoint, requests: Sequence[GenerationRequest], decodings: Sequence[Decoding]
) -> list[Prompt]:
    """Return the prompts as tokens, cut on the left where an answer needs room in the window.

    Raises:
        InputError: a prompt has no token, or its answer may fill the window.
    """
    rows = encode_prompts(checkpoint.tokenizer, [request.context for request in requests])
    prompts = []
    for request, asked, tokens in zip(requests, decodings, rows, strict=True):
        decoding = asked
        if not asked.has_own_limit and asked.max_new_tokens >= checkpoint.max_length:
            decoding = replace(asked, max_new_tokens=max(1, checkpoint.max_length // 2))
        kept = fit_prompt(tokens, window=checkpoint.max_length, new_tokens=decoding.max_new_tokens, item=request.item_idx)
        cut = len(tokens) - len(kept)
        prompts.append(Prompt(item=request.item_idx, tokens=tuple(kept), decoding=decoding, n_truncated=cut))
    return prompts


def _positions(checkpoint: LoadedCheckpoint) -> int:
    config = checkpoint.model.config.get_text_config(decoder=True)
    heads = getattr(config, "num_key_value_heads", None) or getattr(config, "num_attention_heads", 1)
    size = getattr(config, "head_dim", None) or config.hidden_size // getattr(config, "num_attention_heads", 1)
    width = checkpoint.model.get_input_embeddings().weight.element_size()
    limit = CACHE_BYTES["cuda" if checkpoint.device.startswith("cuda") else "cpu"]
    return max(1, min(_MOST_POSITIONS, int(limit // (2 * config.num_hidden_layers * heads * size * width))))


def _special_settings(model: Any) -> list[str]:
    return [name for name, neutral in _NEUTRAL.items() if getattr(model.generation_config, name, None) not in neutral]


def _within_memory(
    writer: DecodeModel, prompts: Sequence[Prompt], block: Block, reader: AnswerReader, *, traced: int
) -> Iterator[WrittenBlock]:
    """Write a block; what does not fit the memory is written in halves."""
    try:
        yield writer.write(prompts, block, reader, traced=traced)
        return
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        if block.rows == 1:
            raise CheckpointError(
                "one answer does not fit the memory", remedy="use a narrower `dtype=`, or a smaller `max_gen_tokens=`"
            ) from error
    release_cached_memory()
    for half in _halves(block):
        yield from _within_memory(writer, prompts, half, reader, traced=traced)


def _halves(block: Block) -> list[Block]:
    rows = [(index, n) for index, (first, last) in zip(block.prompts, block.samples, strict=True) for n in range(first, last)]
    middle = len(rows) // 2
    found = []
    for part in (rows[:middle], rows[middle:]):
        drawn: dict[int, list[int]] = {}
        for index, sample in part:
            drawn.setdefault(index, []).append(sample)
        samples = tuple((numbers[0], numbers[-1] + 1) for numbers in drawn.values())
        found.append(replace(block, prompts=tuple(drawn), samples=samples))
    return found


def _finished(written: WrittenBlock, reader: AnswerReader) -> WrittenAnswers:
    return WrittenAnswers(
        answers=[_answer(row, reader) for row in written.rows],
        tokens_computed=written.tokens_computed,
        tokens_padded=written.tokens_padded,
        flops=written.flops,
    )


def _answer(row: Row, reader: AnswerReader) -> WrittenAnswer:
    return WrittenAnswer(
        prompt=row.prompt,
        sample=row.sample,
        text=reader.text(row.tokens),
        n_tokens=len(row.tokens),
        stopped=row.stopped,
    )


def _compare_with_plain(checkpoint: LoadedCheckpoint, prompts: Sequence[Prompt], written: WrittenBlock) -> None:
    """Compare the probabilities of some answers' tokens with those that the untouched model gives the same tokens."""
    dtype = checkpoint.model.get_input_embeddings().weight.dtype
    for row in written.rows[:_CHECKED]:
        prompt = prompts[row.prompt].tokens
        whole = (*prompt, *row.tokens)[:-1]
        position = tuple(range(len(prompt) - 1, len(whole)))
        plain = score_inputs(checkpoint.model, [PlainInput(inputs=whole, position=position, target=tuple(row.tokens))])
        difference = float((plain.log_p - torch.tensor(row.log_p, dtype=torch.float64)).abs().max())
        # Not `>`: a NaN must fail the check.
        if not difference <= TOLERANCE[dtype] * len(whole) ** 0.5:
            raise UnsupportedAttentionError(
                f"the fast way and the plain one differ by {difference:.2g} nats (model type '{checkpoint.architecture}')"
            )


class _Forced(LogitsProcessor):
    """Leaves only the token that was drawn."""

    def __init__(self, decoding: Decoding, draws: RowDraws) -> None:
        self._decoding = decoding
        self._draws = draws

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        [token] = drawn_tokens(scores, self._decoding, [self._draws])
        forced = torch.full_like(scores, -torch.inf)
        forced[0, token] = 0.0
        return forced  # type: ignore[return-value, unused-ignore]


class _Stopped(StoppingCriteria):
    """Ends generation as soon as the answer contains a stop string."""

    def __init__(self, reader: AnswerReader, prompt: int) -> None:
        self._reader = reader
        self._prompt = prompt

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **_: Any) -> torch.BoolTensor:
        stopped = self._reader.is_stopped(input_ids[0, self._prompt :].tolist())
        return torch.tensor([stopped], device=input_ids.device)  # type: ignore[return-value, unused-ignore]


def _plainly(
    checkpoint: LoadedCheckpoint,
    prompts: Sequence[Prompt],
    block: Block,
    reader: AnswerReader,
    seed: int,
    name_item: Callable[[int], str],
) -> Iterator[WrittenAnswers]:
    """Write a block's answers by transformers' own `generate`, each by itself."""
    for index, (first, last) in zip(block.prompts, block.samples, strict=True):
        prompt = prompts[index]
        for sample in range(first, last):
            try:
                tokens = _generate(checkpoint, prompt, reader, RowDraws(seed, prompt.item, sample))
            except (RuntimeError, ValueError, TypeError) as error:
                raise CheckpointError(
                    f"{name_item(index)}: its answer cannot be generated: {say_failure(error)}",
                    expected="finite logits and generation_kwargs that transformers' generate takes",
                ) from error
            row = Row(prompt=index, sample=sample, draws=None, tokens=tokens, log_p=[], stopped=reader.is_stopped(tokens))
            computed = len(prompt.tokens) + len(tokens) - 1
            yield WrittenAnswers(
                answers=[_answer(row, reader)],
                tokens_computed=computed,
                tokens_padded=0,
                flops=2.0 * checkpoint.params_non_embedding * computed,
            )


@torch.inference_mode()
def _generate(checkpoint: LoadedCheckpoint, prompt: Prompt, reader: AnswerReader, draws: RowDraws) -> list[int]:
    device = checkpoint.model.get_input_embeddings().weight.device
    tokens = torch.tensor([prompt.tokens], device=device)
    ends = sorted(end_tokens(checkpoint.model, checkpoint.tokenizer))
    found = checkpoint.model.generate(
        input_ids=tokens,
        attention_mask=torch.ones_like(tokens),
        max_new_tokens=prompt.decoding.max_new_tokens,
        pad_token_id=ends[0] if ends else 0,
        eos_token_id=ends or None,
        stopping_criteria=[_Stopped(reader, len(prompt.tokens))],
        logits_processor=[_Forced(prompt.decoding, draws)] if prompt.decoding.is_drawn else [],
        use_cache=True,
        **({"do_sample": False} | dict(prompt.decoding.other)),
    )
    return [int(token) for token in found[0, len(prompt.tokens) :].tolist()]
