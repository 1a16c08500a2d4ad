"""What a task asks of a model: texts first, tokens after a tokenizer was chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from forecast.core.records import TaskRecord


@dataclass(frozen=True, kw_only=True)
class TextRequest:
    """One loglikelihood to compute, as text. `rolling` scores the whole continuation from the prefix token on."""

    item_idx: int
    choice_idx: int
    context: str
    continuation: str
    rolling: bool = False


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """One answer to generate, as text: what lm-eval would send to `generate_until`."""

    item_idx: int
    context: str
    kwargs: Mapping[str, Any]
    """The task's `generation_kwargs`, as they stand."""
    repeats: int = 1
    """Answers that the task itself asks for."""


@dataclass(frozen=True, kw_only=True)
class JudgedAnswer:
    """What a task's own filters and metrics made of one answer; the fields are those of `GeneratedAnswer`."""

    extracted: Mapping[str, str]
    values: Mapping[str, float]
    correct: bool | None


class AnswerJudge(Protocol):
    """Knows a task's filters and metrics."""

    def probe(self, item_idx: int, text: str) -> None:
        """Judge one text before anything is computed.

        Raises:
            UsageError: a metric needs a package that is not installed.
        """

    def judge(self, item_idx: int, texts: Sequence[str]) -> Sequence[JudgedAnswer]:
        """Judge all answers to one item; the first one carries the numbers that lm-eval gives for all of them together.

        Raises:
            InputError: a filter or a metric fails on an answer; task and item are named.
        """


@dataclass(frozen=True, kw_only=True)
class RenderedTask:
    """A task whose prompts are written out: the record to keep, and the requests in item and choice order."""

    record: TaskRecord
    requests: Sequence[TextRequest]
    generations: Sequence[GenerationRequest] = ()
    """One an item, in item order; empty where answers are not generated."""
    judge: AnswerJudge | None = None
    """What judges them."""


@dataclass(frozen=True, kw_only=True)
class TokenRequest:
    """One forward pass that a scorer without sharing would make.

    `inputs` are the tokens fed to the model; the logits of the last `len(targets)` of them are scored against `targets`.
    A rolling text longer than the model's window gives several of these.
    """

    owner: int
    """Position of the text request that this belongs to."""
    inputs: Sequence[int] | NDArray[np.int32]
    targets: Sequence[int]
    n_truncated: int = 0
    """Context tokens cut on the left because the request was longer than the model's window."""


@dataclass(frozen=True, kw_only=True)
class ScoredRequests:
    """Finished token requests: their positions in the plan, log p(targets) in nats, and whether every target was the argmax."""

    request: NDArray[np.int64]
    loglikelihood: NDArray[np.float64]
    is_greedy: NDArray[np.bool_]
    token_loglikelihood: NDArray[np.float64]
    """Log p of each target of each request, one request after the other."""
    tokens_computed: int
    tokens_padded: int
    flops: float
