"""Scores token requests with one loaded checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecast.core.errors import CheckpointError
from forecast.scoring.checkpoint_loading import LoadedCheckpoint
from forecast.scoring.plain_forward import score_rows
from forecast.scoring.requests import TokenRequest

SCORING_VERSION = "1"
"""Changes whenever the same request could give another number."""


@dataclass(frozen=True, kw_only=True)
class ScoredRequests:
    """Finished token requests: their positions in the list, log p(targets) in nats, and whether every target was the argmax."""

    request: NDArray[np.int64]
    loglikelihood: NDArray[np.float64]
    is_greedy: NDArray[np.bool_]
    tokens_computed: int
    tokens_padded: int


def score_plainly(
    checkpoint: LoadedCheckpoint, requests: Sequence[TokenRequest], *, token_budget: int
) -> Iterator[ScoredRequests]:
    """Score in padded batches of at most `token_budget` positions, longest first; equal inputs are computed once."""
    by_input: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {}
    for index, request in enumerate(requests):
        by_input.setdefault((request.inputs, request.targets), []).append(index)
    order = sorted(by_input, key=lambda pair: (-len(pair[0]), pair))
    start = 0
    while start < len(order):
        size = max(1, token_budget // len(order[start][0]))
        rows = order[start : start + size]
        start += size
        scores, greedy, padded = score_rows(checkpoint.model, rows)
        offset = 0
        finished: list[int] = []
        sums: list[float] = []
        greedies: list[bool] = []
        for row in rows:
            part = scores[offset : offset + len(row[1])]
            if not part.isfinite().all():
                raise CheckpointError(f"request {by_input[row][0]} has a loglikelihood of {float(part.sum())}")
            for index in by_input[row]:
                finished.append(index)
                sums.append(float(part.sum()))
                greedies.append(bool(greedy[offset : offset + len(row[1])].all()))
            offset += len(row[1])
        yield ScoredRequests(
            request=np.array(finished, dtype=np.int64),
            loglikelihood=np.array(sums),
            is_greedy=np.array(greedies),
            tokens_computed=sum(len(inputs) for inputs, _ in rows),
            tokens_padded=padded,
        )
