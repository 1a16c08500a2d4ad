"""The models to forecast as points of a sample: compute by the ladder's own convention, N and D where they are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from forecast.core.errors import UsageError
from forecast.core.forecasts import Target
from forecast.core.observations import Ladder
from forecast.core.scale import check_scale
from forecast.core.units import FLOPS_PER_PARAM_TOKEN
from forecast.forecasting.sample import Points

CONTRADICTION = 5.0
"""Conventions that leave embeddings out change the FLOPs of small models by a factor of up to four; more is reported."""


def complete_target(target: Target, ladder: Ladder) -> tuple[Target, tuple[str, ...]]:
    """Complete a target from what it states and from the ladder; say what was assumed.

    FLOPs follow from N and D by the ladder's own ratio of C to 6 N D, so that both are of one convention. N and D of a
    target of which only compute is known follow the tokens per parameter of the ladder's largest runs.

    Raises:
        UsageError: neither FLOPs nor both of params and tokens are stated, or a number that no training run has.
    """
    check_target(target)
    known = np.isfinite(ladder.params) & np.isfinite(ladder.tokens) & (ladder.tokens > 0) & np.isfinite(ladder.flops)
    notes: list[str] = []
    params, tokens, flops = target.params, target.tokens, target.flops
    if known.any():
        order = np.argsort(ladder.flops[known])[::-1][:5]
        n, d, c = (column[known][order] for column in (ladder.params, ladder.tokens, ladder.flops))
        ratio = float(np.median(c / (FLOPS_PER_PARAM_TOKEN * n * d)))
        if flops is None and params is not None and tokens is not None:
            flops = ratio * FLOPS_PER_PARAM_TOKEN * params * tokens
            if abs(ratio - 1) > 0.02:
                notes.append(f"Training FLOPs of the target are {ratio:.2f} x 6 N D, as those of the largest runs are.")
        elif flops is not None:
            product = flops / (ratio * FLOPS_PER_PARAM_TOKEN)
            per_param = float(np.exp(np.median(np.log(d / n))))
            if params is None and tokens is None:
                params, tokens = float(np.sqrt(product / per_param)), float(np.sqrt(product * per_param))
                notes.append(
                    f"Only the target's FLOPs are known; {per_param:.3g} tokens per parameter are assumed, as in large runs."
                )
            elif params is not None and tokens is not None:
                notes += _contradiction(product / (params * tokens))
            elif tokens is not None:
                params = product / tokens
            elif params is not None:
                tokens = product / params
    elif flops is None and params is not None and tokens is not None:
        flops = FLOPS_PER_PARAM_TOKEN * params * tokens
        notes.append("Training FLOPs of the target are 6 N D; the ladder does not say how its own were counted.")
    return Target(name=target.name, params=params, tokens=tokens, flops=flops), tuple(notes)


def check_target(target: Target) -> None:
    """Check that a target states enough, in numbers that a training run can have.

    Raises:
        UsageError: it does not.
    """
    check_scale(f"target '{target.name}'", params=target.params, tokens=target.tokens, flops=target.flops)
    if target.flops is None and (target.params is None or target.tokens is None):
        raise UsageError(
            f"target '{target.name}' states neither training FLOPs nor both of parameters and tokens",
            expected="`flops=`, or `params=` with `tokens=`",
        )


def _contradiction(factor: float) -> list[str]:
    if 1 / CONTRADICTION < factor < CONTRADICTION:
        return []
    return [f"The target's FLOPs are {factor:.3g} times what its parameters and tokens cost in the largest runs."]


def target_points(targets: Sequence[Target]) -> Points:
    """Return completed targets as logarithms."""

    def column(values: Sequence[float | None]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.log(np.array([np.nan if v is None else v for v in values], dtype=np.float64))

    return Points(
        log_flops=column([t.flops for t in targets]),
        log_params=column([t.params for t in targets]),
        log_tokens=column([t.tokens for t in targets]),
    )
