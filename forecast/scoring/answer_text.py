"""Prompts to tokens and tokens to answers, by the rules of lm-eval's `hf` backend (lm_eval/models/huggingface.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lm_eval.models.utils import has_bos_prefix

from forecast.core.errors import InputError

_TEXTS_PER_CALL = 256
_LOOK_BACK = 8
"""Tokens beyond the longest stop string's that are read again after each step: a string may begin within a token."""


def encode_prompts(tokenizer: Any, prompts: Sequence[str]) -> list[list[int]]:
    """Return each prompt's tokens, with the tokenizer's own special tokens unless the text begins with one."""
    distinct = list(dict.fromkeys(prompts))
    found: dict[str, list[int]] = {}
    for plain in (True, False):
        texts = [text for text in distinct if has_bos_prefix(text, getattr(tokenizer, "bos_token", None)) is not plain]
        settings = {} if plain else {"add_special_tokens": False}
        for start in range(0, len(texts), _TEXTS_PER_CALL):
            part = texts[start : start + _TEXTS_PER_CALL]
            rows = tokenizer(part, return_attention_mask=False, verbose=False, **settings)["input_ids"]
            found.update(zip(part, rows, strict=True))
    return [found[prompt] for prompt in prompts]


def fit_prompt(tokens: list[int], *, window: int, new_tokens: int, item: int) -> list[int]:
    """Cut a prompt on the left so that its answer has room in the model's window.

    Raises:
        InputError: the answer alone may fill the window, or the prompt has no token.
    """
    room = window - new_tokens
    if room <= 0:
        raise InputError(
            f"item {item}: an answer may have {new_tokens} tokens, and the model's window {window}",
            expected="a token limit below the window",
            remedy="pass `max_gen_tokens=`",
        )
    if not tokens:
        raise InputError(f"item {item}: the prompt has no token", expected="at least one")
    return tokens[-room:]


def end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """Tokens that end an answer: the tokenizer's end of text, and those that the model's generation settings name."""
    named = getattr(model.generation_config, "eos_token_id", None)
    several = named if isinstance(named, list | tuple) else [named]
    return frozenset(int(token) for token in (*several, tokenizer.eos_token_id) if token is not None)


class AnswerReader:
    """Reads answers as they grow: whether a stop string has come, and the text up to it."""

    def __init__(self, tokenizer: Any, until: Sequence[str], ends: frozenset[int]) -> None:
        """`until` are the task's stop strings; the end-of-text token's own text comes on top, as in lm-eval."""
        self._tokenizer = tokenizer
        self._ends = ends
        end = tokenizer.decode([tokenizer.eos_token_id]) if tokenizer.eos_token_id is not None else ""
        self._until = tuple(dict.fromkeys(text for text in (*until, end) if text))
        longest = max((len(tokenizer.encode(text, add_special_tokens=False)) for text in self._until), default=1)
        self._tail = longest + _LOOK_BACK

    def is_stopped(self, tokens: Sequence[int]) -> bool:
        """Whether the last token ended the answer, or completed a stop string."""
        if tokens and tokens[-1] in self._ends:
            return True
        if not any(text in self._decode(tokens[-self._tail :]) for text in self._until):
            return False
        # The tail alone may decode to something that the whole answer does not contain.
        return self.holds_stop(tokens)

    def holds_stop(self, tokens: Sequence[int]) -> bool:
        """Whether the whole answer's text contains a stop string."""
        text = self._decode(tokens)
        return any(stop in text for stop in self._until)

    def text(self, tokens: Sequence[int]) -> str:
        """Return the answer up to the first stop string."""
        answer = self._decode(tokens)
        for stop in self._until:
            answer = answer.split(stop)[0]
        return answer

    def _decode(self, tokens: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True))
