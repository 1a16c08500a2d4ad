"""Texts to tokens by lm-eval's rules, each distinct text once.

The rules are those of lm_eval/api/model.py (`TemplateLM.loglikelihood`, `_encode_pair`) and lm_eval/models/huggingface.py
(`tok_encode`, `prefix_token_id`, left truncation in `_loglikelihood_tokens`, windows in `loglikelihood_rolling`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from lm_eval.models.utils import has_bos_prefix
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from numpy.typing import NDArray

from forecast.core.errors import CheckpointError, InputError
from forecast.scoring.requests import TextRequest, TokenRequest

_TEXTS_PER_CALL = 256
_REQUESTS_PER_PART = 1024
"""Texts and tokens of this many requests are held at a time."""


class Encoder:
    """One tokenizer with the settings that change its output."""

    def __init__(self, tokenizer: Any, *, max_length: int, add_bos: bool | None = None) -> None:
        """`add_bos` None leaves the tokenizer's own default, as lm-eval's `add_bos_token` does."""
        self._tokenizer = tokenizer
        self.max_length = max_length
        self._add_bos = add_bos
        self.prefix_token = _prefix_token(tokenizer)
        self._prefix_text = tokenizer.decode(self.prefix_token)
        self._plain: dict[str, list[int]] = {}
        self._special: dict[str, list[int]] = {}
        self._interned: dict[bytes, NDArray[np.int32]] = {}

    def encode_requests(self, requests: Sequence[TextRequest]) -> list[TokenRequest]:
        """Return the forward passes of all requests, in order; equal inputs are one array.

        Raises:
            InputError: a continuation has no token, or more than the model's window; the message names the item.
        """
        encoded: list[TokenRequest] = []
        for start in range(0, len(requests), _REQUESTS_PER_PART):
            encoded.extend(self._encode_part(requests[start : start + _REQUESTS_PER_PART], start))
        self._plain, self._special, self._interned = {}, {}, {}
        return encoded

    def _encode_part(self, requests: Sequence[TextRequest], first_owner: int) -> Iterator[TokenRequest]:
        pairs = [_move_spaces(request.context, request.continuation) for request in requests]
        self._fill(requests, pairs)
        for owner, (request, (context, continuation)) in enumerate(zip(requests, pairs, strict=True), first_owner):
            if request.rolling:
                yield from self._rolling(owner, self._special[continuation])
            elif request.context == "":
                yield self._window(owner, request, *self._from_prefix(request, self._plain[continuation]))
            else:
                context_tokens = self._special[context]
                whole = self._special[context + continuation]
                yield self._window(owner, request, context_tokens, whole[len(context_tokens) :])

    def _fill(self, requests: Sequence[TextRequest], pairs: Sequence[tuple[str, str]]) -> None:
        plain: dict[str, None] = {}
        special: dict[str, None] = {}
        for request, (context, continuation) in zip(requests, pairs, strict=True):
            if request.rolling:
                special[continuation] = None
            elif request.context == "":
                plain[continuation] = None
            else:
                special[context] = None
                special[context + continuation] = None
        self._plain = self._encode_texts(plain, special_tokens=False)
        begins = {text: has_bos_prefix(text, self._prefix_text) for text in special}
        self._special = self._encode_texts((text for text in special if not begins[text]), special_tokens=self._add_bos)
        self._special |= self._encode_texts((text for text in special if begins[text]), special_tokens=False)

    def _encode_texts(self, texts: Iterable[str], *, special_tokens: bool | None) -> dict[str, list[int]]:
        distinct = list(texts)
        settings: dict[str, Any] = {} if special_tokens is None else {"add_special_tokens": special_tokens}
        encoded: dict[str, list[int]] = {}
        for start in range(0, len(distinct), _TEXTS_PER_CALL):
            part = distinct[start : start + _TEXTS_PER_CALL]
            rows = self._tokenizer(part, return_attention_mask=False, verbose=False, **settings)["input_ids"]
            encoded.update(zip(part, rows, strict=True))
        return encoded

    def _from_prefix(self, request: TextRequest, continuation: list[int]) -> tuple[list[int], list[int]]:
        """An empty context: the prefix token takes its place, unless the text already begins with it."""
        if continuation and continuation[0] == self.prefix_token:
            return continuation[:1], continuation[1:]
        return [self.prefix_token], continuation

    def _rolling(self, owner: int, tokens: list[int]) -> list[TokenRequest]:
        windows = get_rolling_token_windows(
            token_list=tokens, prefix_token=self.prefix_token, max_seq_len=self.max_length, context_len=1
        )
        return [
            TokenRequest(owner=owner, inputs=self._intern((context + scored)[:-1]), targets=tuple(scored))
            for context, scored in map(make_disjoint_window, windows)
        ]

    def _window(self, owner: int, request: TextRequest, context: list[int], continuation: list[int]) -> TokenRequest:
        if not 0 < len(continuation) <= self.max_length:
            raise InputError(
                f"item {request.item_idx}, choice {request.choice_idx}: the continuation {request.continuation[:60]!r} "
                f"has {len(continuation)} tokens of its own after its context",
                expected=f"1 to {self.max_length} (the model's window)",
            )
        whole = context + continuation
        kept = whole[-(self.max_length + 1) :]
        return TokenRequest(
            owner=owner, inputs=self._intern(kept[:-1]), targets=tuple(continuation), n_truncated=len(whole) - len(kept)
        )

    def _intern(self, tokens: list[int]) -> NDArray[np.int32]:
        """A list of numbers takes nine times the memory, and the choices of a question often share their inputs."""
        array = np.array(tokens, dtype=np.int32)
        return self._interned.setdefault(array.tobytes(), array)


def _move_spaces(context: str, continuation: str) -> tuple[str, str]:
    """Spaces at the context's end belong to the continuation, where word-initial tokens expect them."""
    stripped = context.rstrip()
    if not context:
        return context, continuation
    return stripped, context[len(stripped) :] + continuation


def _prefix_token(tokenizer: Any) -> int:
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    raise CheckpointError(
        "the tokenizer has neither a beginning- nor an end-of-text token",
        expected="bos_token or eos_token in tokenizer_config.json (lm-eval puts one before an empty context)",
    )
