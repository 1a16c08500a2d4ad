"""Texts to masked inputs: which tokens of a text are scored, and which are hidden meanwhile.

A masked model gives log p(token | everything visible). The score of a choice is its pseudo-log-likelihood (PLL),

    PLL(w | prompt) = sum_t log p(w_t | prompt, w without w_t and without the later pieces of w_t's word),

which is `PLL-word-l2r` of Kauf & Ivanova 2023 (arXiv:2305.10588, section 3.2): with the later pieces in sight the model would
guess a long rare word from its own end. Pieces are one word when the tokenizer's pre-tokenizer says so and no white space
stands between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from forecast.core.errors import CheckpointError, InputError
from forecast.scoring.requests import TextRequest

_TEXTS_PER_CALL = 512


@dataclass(frozen=True, kw_only=True)
class MaskedRequest:
    """Tokens of one text (or of one window of a long one), and those of them that are scored."""

    owner: int
    """Position of the text request that this belongs to."""
    inputs: tuple[int, ...]
    """Nothing masked yet; the tokenizer's own special tokens at both ends."""
    scored: tuple[int, ...]
    """Positions to score, ascending."""
    word_end: tuple[int, ...]
    """For each of them, one past its word's last piece: positions [scored, word_end) are masked together."""
    n_truncated: int = 0
    """Context tokens cut on the left because the text was longer than the model's window."""


@dataclass(frozen=True, kw_only=True)
class _Encoded:
    """A text's tokens between the special ones."""

    lead: tuple[int, ...]
    body: tuple[int, ...]
    tail: tuple[int, ...]
    ends: tuple[int, ...]
    """One past each token's last character."""
    word_ends: tuple[int, ...]
    """One past the last piece of each token's word."""


class MaskedEncoder:
    """One tokenizer of a masked language model."""

    def __init__(self, tokenizer: Any, *, max_length: int) -> None:
        """`max_length` counts the special tokens.

        Raises:
            CheckpointError: the tokenizer has no mask token, or cannot say where its tokens are in the text.
        """
        if tokenizer.mask_token_id is None:
            raise CheckpointError(
                "the tokenizer of this masked language model has no mask token", expected="mask_token in tokenizer_config.json"
            )
        if not tokenizer.is_fast:
            raise CheckpointError(
                f"the tokenizer {type(tokenizer).__name__} does not say which characters a token covers",
                expected="a fast tokenizer (tokenizer.json)",
                remedy="save it once with transformers' fast class",
            )
        self._tokenizer = tokenizer
        n_special = tokenizer.num_special_tokens_to_add(pair=False)
        if max_length <= n_special:
            raise CheckpointError(
                f"the model sees {max_length} tokens, and the tokenizer adds {n_special} of its own", expected="a longer window"
            )
        self._max_length = max_length

    def encode_requests(self, requests: Sequence[TextRequest]) -> list[MaskedRequest]:
        """Return what is to be scored, in order.

        A token belongs to the choice when its last character does. A text beyond the window loses context on the left; a
        rolling text is cut into windows that do not overlap, at words' ends where possible.

        Raises:
            InputError: a choice has no token, or more than the model's window; the message names the item.
        """
        result: list[MaskedRequest] = []
        for start in range(0, len(requests), _TEXTS_PER_CALL):
            part = requests[start : start + _TEXTS_PER_CALL]
            contexts = [request.context.rstrip() for request in part]
            texts = [request.context + request.continuation for request in part]
            for offset, (request, encoded) in enumerate(zip(part, self._encode(texts), strict=True)):
                boundary = len(contexts[offset])
                if request.rolling:
                    result.extend(self._windows(start + offset, request, encoded))
                else:
                    result.append(self._choice(start + offset, request, encoded, boundary))
        return result

    def _encode(self, texts: Sequence[str]) -> list[_Encoded]:
        rows = self._tokenizer(list(texts), return_offsets_mapping=True, return_special_tokens_mask=True, verbose=False)
        encoded = []
        for i, text in enumerate(texts):
            tokens, special = rows["input_ids"][i], rows["special_tokens_mask"][i]
            first = next((k for k, flag in enumerate(special) if not flag), len(tokens))
            stop = len(tokens) - next((k for k, flag in enumerate(reversed(special)) if not flag), 0)
            stop = max(first, stop)
            offsets = rows["offset_mapping"][i][first:stop]
            encoded.append(
                _Encoded(
                    lead=tuple(tokens[:first]),
                    body=tuple(tokens[first:stop]),
                    tail=tuple(tokens[stop:]),
                    ends=tuple(end for _, end in offsets),
                    word_ends=_word_ends(text, rows.word_ids(i)[first:stop], offsets),
                )
            )
        return encoded

    def _choice(self, owner: int, request: TextRequest, encoded: _Encoded, boundary: int) -> MaskedRequest:
        first = next((k for k, end in enumerate(encoded.ends) if end > boundary), len(encoded.body))
        capacity = self._max_length - len(encoded.lead) - len(encoded.tail)
        n_scored = len(encoded.body) - first
        if not 0 < n_scored <= capacity:
            raise InputError(
                f"item {request.item_idx}, choice {request.choice_idx}: the continuation {request.continuation[:60]!r} "
                f"has {n_scored} tokens of its own after its context",
                expected=f"1 to {capacity} (the model's window without its special tokens)",
            )
        cut = max(0, len(encoded.body) - capacity)
        return _cut(owner, encoded, cut, len(encoded.body), first, n_truncated=cut)

    def _windows(self, owner: int, request: TextRequest, encoded: _Encoded) -> list[MaskedRequest]:
        capacity = self._max_length - len(encoded.lead) - len(encoded.tail)
        if not encoded.body:
            raise InputError(
                f"item {request.item_idx}: the text {request.continuation[:60]!r} has no token", expected="at least one"
            )
        windows: list[MaskedRequest] = []
        start = 0
        while start < len(encoded.body):
            stop = min(start + capacity, len(encoded.body))
            if stop < len(encoded.body):
                stop = next((k for k in range(stop, start, -1) if encoded.word_ends[k - 1] == k), stop)
            windows.append(_cut(owner, encoded, start, stop, start, n_truncated=0))
            start = stop
        return windows


def _cut(owner: int, encoded: _Encoded, start: int, stop: int, first_scored: int, *, n_truncated: int) -> MaskedRequest:
    """Body tokens [start, stop) between the special ones, scored from `first_scored` on."""
    shift = len(encoded.lead) - start
    return MaskedRequest(
        owner=owner,
        inputs=encoded.lead + encoded.body[start:stop] + encoded.tail,
        scored=tuple(k + shift for k in range(first_scored, stop)),
        word_end=tuple(min(encoded.word_ends[k], stop) + shift for k in range(first_scored, stop)),
        n_truncated=n_truncated,
    )


def _word_ends(text: str, words: Sequence[int | None], offsets: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """One past the last piece of each piece's word."""
    ends = [0] * len(words)
    stop = len(words)
    for k in reversed(range(len(words))):
        ends[k] = stop
        if k == 0 or words[k] is None or words[k] != words[k - 1] or _parted(text, offsets[k - 1], offsets[k]):
            stop = k
    return tuple(ends)


def _parted(text: str, before: tuple[int, int], after: tuple[int, int]) -> bool:
    """Whether white space separates two pieces, or begins the second."""
    return before != after and (text[before[1] : after[0]].isspace() or text[after[0] : after[0] + 1].isspace())
