"""Loglikelihoods by a model of lm-eval's registry, stored like any other run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from forecast.core.records import RunCounters
from forecast.evaluation.records import ScoringSettings
from forecast.evaluation.scorers.scorer import (
    Asked,
    AskedAnswers,
    Scored,
    Scorer,
    Scoring,
    Subject,
    Written,
    WrittenText,
)
from forecast.scoring.lm_eval_backend import BackendSpec, count_tokens, open_backend, score_through, write_through


class LmEvalScorer:
    """A backend that answers one text at a time; what it computes inside is its own business, so only time is counted."""

    together = False

    def __init__(self, backend: Any) -> None:
        """`backend` is lm-eval's model."""
        self._backend = backend

    def score(self, asked: Asked) -> Scoring:
        """Send every wanted text; an answer is whole.

        Raises:
            CheckpointError: the backend fails, or an answer is not a finite number.
        """
        ones = np.ones(len(asked.texts), dtype=np.int64)
        return Scoring(
            results=self._results(asked),
            n_parts=ones,
            n_tokens=0 * ones,
            tokens_asked=0 * ones,
            tokens_truncated=0 * ones,
            share=ones * asked.wanted,
            total=int(asked.wanted.sum()),
            unit="requests",
        )

    def _results(self, asked: Asked) -> Iterator[Scored]:
        wanted = np.flatnonzero(asked.wanted)
        requests = [asked.texts[index] for index in wanted.tolist()]
        for answers in score_through(self._backend, requests, asked=f"backend '{asked.backend}' with {asked.checkpoint}"):
            yield Scored(
                text=wanted[[answer.index for answer in answers]],
                loglikelihood=np.array([answer.loglikelihood for answer in answers]),
                is_greedy=np.array([answer.is_greedy for answer in answers], dtype=np.bool_),
                n_tokens=np.array([answer.n_tokens for answer in answers], dtype=np.int64),
                advance=len(answers),
            )

    def write(self, asked: AskedAnswers) -> Iterator[Written]:
        """Have the backend generate; a draw is one more request, by its own random numbers.

        Raises:
            CheckpointError: the backend fails.
        """
        wanted = np.flatnonzero(asked.wanted).tolist()
        queue = [(index, sample) for index in wanted for sample in range(asked.decodings[index].samples)]
        chosen = [(asked.requests[index].context, asked.decodings[index]) for index, _ in queue]
        name = f"backend '{asked.backend}' with {asked.checkpoint}"
        for place, texts in write_through(self._backend, chosen, asked=name):
            yield Written(
                answers=[
                    # How it ended the backend does not say.
                    (*queue[place + i], WrittenText(text=text, n_tokens=count_tokens(self._backend, text), stopped=True))
                    for i, text in enumerate(texts)
                ]
            )

    def summarise(self, totals: RunCounters) -> str:
        """Say nothing: no token was counted."""
        return ""


class LmEvalSource:
    """Opens checkpoints through one backend."""

    def __init__(self, backend: BackendSpec, settings: ScoringSettings) -> None:
        """Nothing is opened yet."""
        self._backend = backend
        self._settings = settings

    def is_masked(self, folder: Path, *, trusted: bool) -> bool:
        """Say no: a backend is asked for loglikelihoods, however it finds them."""
        return False

    def read_ahead(self, files: Sequence[Path]) -> None:
        """Do nothing: where a backend's weights come from is its own business."""

    def product_rate(self) -> float | None:
        """Measure nothing."""
        return None

    def open(self, subject: Subject) -> Scorer:
        """Open the backend on the folder, where it loads folders.

        Raises:
            UsageError: no such backend.
            CheckpointError: it cannot be opened.
        """
        settings = self._settings
        return LmEvalScorer(open_backend(self._backend, folder=subject.folder, dtype=settings.dtype, device=settings.device))
