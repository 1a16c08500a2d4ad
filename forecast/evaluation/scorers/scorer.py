"""What every way of scoring loglikelihoods takes and gives; adding up, counting, storing and resuming are not its business."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from forecast.core.records import RunCounters
from forecast.scoring.decoding import Decoding
from forecast.scoring.requests import GenerationRequest, TextRequest


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The texts of some runs that are planned together: those of finished items, too, so that a resumed session plans alike."""

    texts: Sequence[TextRequest]
    wanted: NDArray[np.bool_]
    """Which of them belong to items that are not stored yet."""
    task_ids: tuple[str, ...]
    backend: str
    """Under which the runs are kept."""
    checkpoint: str
    """Its name, for errors."""
    name: Callable[[int], str]
    """Task, item and choice of a text, for errors."""
    notice: Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Some parts (windows, tokens, whole answers) of texts' scores, and what computing them took since the last ones."""

    text: NDArray[np.int64]
    """Position of the text that each part belongs to."""
    loglikelihood: NDArray[np.float64]
    """In nats."""
    is_greedy: NDArray[np.bool_]
    advance: int
    """Units of the progress bar."""
    n_tokens: NDArray[np.int64] | None = None
    """Scored tokens, where they are not known before."""
    tokens_computed: int = 0
    tokens_padded: int = 0
    flops: float = 0.0
    flops_bound: float = 0.0
    """Least FLOPs, where they are not known before."""
    token_loglikelihood: NDArray[np.float64] | None = None
    """Log p of each part's tokens in nats, one part after the other; None where only sums are known."""
    part_tokens: NDArray[np.int64] | None = None
    """How many of those each part has."""


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """What is going to be done, text by text, and the parts as they come."""

    results: Iterator[Scored]
    n_parts: NDArray[np.int64]
    """Parts in which a text's score arrives."""
    n_tokens: NDArray[np.int64]
    """Scored tokens of each text; 0 where `Scored.n_tokens` will say."""
    tokens_asked: NDArray[np.int64]
    """Positions that scoring each text alone would feed."""
    tokens_truncated: NDArray[np.int64]
    share: NDArray[np.int64]
    """How much of the whole cost each text bears, in any unit."""
    total: int
    """Length of the progress bar."""
    unit: str
    tokens_unique: int | None = None
    """Distinct prefixes of what is wanted; None where that is what is computed."""
    flops_bound: float = 0.0
    """Least FLOPs of what is wanted; 0 where `Scored.flops_bound` will say."""


@dataclass(frozen=True, kw_only=True)
class AskedAnswers:
    """The answers to write of some runs that are planned together: those of finished items, too, as for `Asked`."""

    requests: Sequence[GenerationRequest]
    decodings: Sequence[Decoding]
    """How each is decoded."""
    wanted: NDArray[np.bool_]
    seed: int
    """Of drawn answers."""
    backend: str
    checkpoint: str
    name: Callable[[int], str]
    """Task and item of a request, for errors."""
    notice: Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class WrittenText:
    """One answer as it was written."""

    text: str
    n_tokens: int
    stopped: bool
    """Whether a stop string or the end of text came; False where the token limit did."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """Some answers, and what writing them took since the last ones."""

    answers: Sequence[tuple[int, int, WrittenText]]
    """Position of the request, number of the draw, and the answer."""
    tokens_computed: int = 0
    tokens_padded: int = 0
    flops: float = 0.0


class Scorer(Protocol):
    """One opened checkpoint that can be asked for loglikelihoods and for answers."""

    together: bool
    """Whether the texts of several runs share forward passes; else every run is scored by itself."""

    def score(self, asked: Asked) -> Scoring:
        """Plan the texts; nothing is computed before the results are taken.

        Raises:
            ForecastError: a text cannot be asked; while results are taken also: a forward pass failed or is not finite.
        """

    def write(self, asked: AskedAnswers) -> Iterator[Written]:
        """Write answers; nothing is computed before they are taken.

        Raises:
            ForecastError: a prompt cannot be asked, a forward pass failed, or the model cannot write.
        """

    def summarise(self, totals: RunCounters) -> str:
        """Say in one line what the scoring cost; empty where there is nothing to say."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A checkpoint to open."""

    name: str
    """For notices and errors."""
    folder: Path | None
    """None where the backend's own arguments say which model answers."""
    tokenizer_hash: str
    trusted: bool
    """Whether Python files of the folder's own may run."""


class ScorerSource(Protocol):
    """Opens one checkpoint after the other; what they share is kept between them."""

    def is_masked(self, folder: Path, *, trusted: bool) -> bool:
        """Whether a folder's model would be scored as a masked one."""

    def read_ahead(self, files: Sequence[Path]) -> None:
        """Bring the next checkpoint's weights into the system's file cache, where that helps."""

    def product_rate(self) -> float | None:
        """Measured FLOP/s of matrix products here; None where somebody else computes."""

    def open(self, subject: Subject) -> Scorer:
        """Open a checkpoint; the one opened before must not be used any more.

        Raises:
            ForecastError: it cannot be loaded.
        """
