"""Pseudo-log-likelihoods of a masked language model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from forecast.core.errors import CheckpointError
from forecast.core.records import RunCounters
from forecast.evaluation.records import ScoringSettings
from forecast.evaluation.scorers.scorer import Asked, AskedAnswers, Scored, Scoring, Written
from forecast.scoring.checkpoint_loading import LoadedCheckpoint
from forecast.scoring.engine import ScoringOptions
from forecast.scoring.masked_forward import score_masked
from forecast.scoring.masked_tokenization import MaskedEncoder, MaskedRequest
from forecast.scoring.tokenizer_check import count_unknown
from forecast.scoring.versions import MASKED_BACKEND


class MaskedScorer:
    """A loaded masked model.

    Tokens are counted as positions fed to the model: `tokens_requested` as if every scored token had a forward pass of its
    own, `tokens_unique` and `tokens_computed` the distinct masked inputs.
    """

    together = True

    def __init__(self, checkpoint: LoadedCheckpoint, settings: ScoringSettings) -> None:
        """Nothing is computed yet."""
        self._checkpoint = checkpoint
        self._settings = settings

    def score(self, asked: Asked) -> Scoring:
        """Plan the texts; every scored token is a part.

        Raises:
            CheckpointError: a logit is NaN or infinite, or the tokenizer is not one of a masked model.
            InputError: a choice has no token of its own, or more than the window.
        """
        encoder = MaskedEncoder(self._checkpoint.tokenizer, max_length=self._checkpoint.max_length)
        requests = encoder.encode_requests(asked.texts)
        self._report_unknown(requests, asked)
        asked.notice(f"a masked model; scores are pseudo-log-likelihoods, kept apart under backend '{MASKED_BACKEND}'")
        n_scored, truncated, tokens_asked = (np.zeros(len(asked.texts), dtype=np.int64) for _ in range(3))
        for request in requests:
            n_scored[request.owner] += len(request.scored)
            truncated[request.owner] += request.n_truncated
            tokens_asked[request.owner] += len(request.scored) * len(request.inputs)
        share = tokens_asked * asked.wanted
        return Scoring(
            results=self._results(requests, asked),
            n_parts=n_scored,
            n_tokens=n_scored,
            tokens_asked=tokens_asked,
            tokens_truncated=truncated,
            share=share,
            total=int(share.sum()),
            unit="tokens",
        )

    def _report_unknown(self, requests: Sequence[MaskedRequest], asked: Asked) -> None:
        scored = np.array([request.inputs[position] for request in requests for position in request.scored], dtype=np.int64)
        count = count_unknown(self._checkpoint.tokenizer, scored)
        if count:
            asked.notice(f"{count:,} of {len(scored):,} scored tokens are unknown to the tokenizer and scored as such")

    def _results(self, requests: Sequence[MaskedRequest], asked: Asked) -> Iterator[Scored]:
        for done in score_masked(
            self._checkpoint,
            requests,
            ScoringOptions(token_budget=self._settings.token_budget, deterministic=self._settings.deterministic),
            on_notice=asked.notice,
            name_request=asked.name,
            wanted=asked.wanted[np.array([request.owner for request in requests], dtype=np.int64)],
        ):
            yield Scored(
                text=done.owner,
                loglikelihood=done.loglikelihood,
                is_greedy=done.is_greedy,
                advance=done.tokens_asked,
                tokens_computed=done.tokens_computed,
                tokens_padded=done.tokens_padded,
                flops=done.flops,
                flops_bound=done.flops_bound,
            )

    def write(self, asked: AskedAnswers) -> Iterator[Written]:
        """Refuse: a masked model fills gaps and writes no answers.

        Raises:
            CheckpointError: always.
        """
        raise CheckpointError(f"{asked.checkpoint} is a masked model and writes no answers", remedy="pass `gold_only=`")

    def summarise(self, totals: RunCounters) -> str:
        """Say nothing: inputs share nothing but what is counted already."""
        return ""
