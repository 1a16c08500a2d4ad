"""What a task asks of a model: texts first, tokens after a tokenizer was chosen."""

from __future__ import annotations

from dataclasses import dataclass

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
class RenderedTask:
    """A task whose prompts are written out: the record to keep, and the requests in item and choice order."""

    record: TaskRecord
    requests: tuple[TextRequest, ...]


@dataclass(frozen=True, kw_only=True)
class TokenRequest:
    """One forward pass that a scorer without sharing would make.

    `inputs` are the tokens fed to the model; the logits of the last `len(targets)` of them are scored against `targets`.
    A rolling text longer than the model's window gives several of these.
    """

    owner: int
    """Position of the text request that this belongs to."""
    inputs: tuple[int, ...]
    targets: tuple[int, ...]
    n_truncated: int = 0
    """Context tokens cut on the left because the request was longer than the model's window."""
