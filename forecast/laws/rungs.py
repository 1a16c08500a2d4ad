"""A ladder of runs below a target: budgets, transformer shapes, tokens and hyper-parameters of each rung."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecast.core.units import FLOPS_PER_PARAM_TOKEN, deepseek_flops_per_token
from forecast.laws.hyperparameters import HyperparameterLaws
from forecast.laws.law import FloatArray
from forecast.laws.optimal import Frontier
from forecast.laws.registry import get_law

_RATIO = 10**0.5
"""Compute between neighbouring rungs: half a decade."""
_HEAD = 64
_ASPECT = 64.0
"""d_model / n_layer, within the flat optimum of Kaplan 2020 (arXiv:2001.08361), figure 5."""


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One run to train. FLOPs are 6 N D, N without embeddings; the DeepSeek laws are asked at their own M D."""

    flops: float
    params_non_embedding: int
    n_layer: int
    d_model: int
    tokens: float
    tokens_per_param: float
    learning_rate: float
    batch_tokens: float
    steps: int
    flops_deepseek: float
    """M D with M = 72 n_layer d_model^2 + 12 n_layer d_model n_ctx."""
    loss: float | None
    """Predicted by the loss law used, None without one."""
    hours: float | None
    """On hardware of the given FLOP/s."""


def ladder_budgets(total: float, count: int) -> list[float]:
    """Budgets of the rungs: half a decade apart, together `total` FLOPs.

    >>> budgets = ladder_budgets(1e20, 6)
    >>> len(budgets), round(sum(budgets) / 1e20, 6)
    (6, 1.0)
    """
    weights = _RATIO ** np.arange(count)
    return [float(total * weight / weights.sum()) for weight in weights]


def design_rung(
    flops: float,
    frontier: Frontier,
    hyperparameters: HyperparameterLaws,
    *,
    loss_theta: FloatArray,
    n_ctx: int,
    flops_per_second: float | None,
) -> Rung:
    """Round the optimal size to a real transformer, and give it the tokens that spend the budget.

    Args:
        flops: budget, 6 N D.
        frontier: where sizes come from.
        hyperparameters: where learning rate and batch come from.
        loss_theta: constants of the `chinchilla` law that predicts the loss.
        n_ctx: training context, tokens.
        flops_per_second: of the hardware; None leaves the hours out.
    """
    n_layer, d_model = transformer_shape(frontier.params(flops))
    params = 12 * n_layer * d_model**2
    tokens = flops / (FLOPS_PER_PARAM_TOKEN * params)
    deepseek = deepseek_flops_per_token(n_layer, d_model, n_ctx) * tokens
    batch = hyperparameters.batch_tokens(deepseek)
    return Rung(
        flops=flops,
        params_non_embedding=params,
        n_layer=n_layer,
        d_model=d_model,
        tokens=tokens,
        tokens_per_param=tokens / params,
        learning_rate=hyperparameters.learning_rate(deepseek),
        batch_tokens=min(batch, tokens),
        steps=max(1, round(tokens / batch)),
        flops_deepseek=deepseek,
        loss=float(get_law("chinchilla").predict(np.array([[params, tokens]]), loss_theta)[0]),
        hours=None if flops_per_second is None else flops / flops_per_second / 3600.0,
    )


def transformer_shape(params: float) -> tuple[int, int]:
    """Return (n_layer, d_model) with 12 n_layer d_model^2 nearest to `params`, d_model a multiple of 64, near aspect 64.

    >>> transformer_shape(8.5e7)
    (12, 768)
    """
    best: tuple[float, int, int] | None = None
    centre = (params * _ASPECT / 12.0) ** (1.0 / 3.0)
    for multiple in range(max(1, int(0.6 * centre / _HEAD)), int(1.7 * centre / _HEAD) + 2):
        d_model = multiple * _HEAD
        n_layer = max(1, round(params / (12 * d_model**2)))
        size = abs(np.log(12 * n_layer * d_model**2 / params))
        aspect = abs(np.log(d_model / n_layer / _ASPECT))
        score = float(size + 0.05 * aspect)
        if best is None or score < best[0]:
            best = score, n_layer, d_model
    if best is None:
        return 1, _HEAD
    return best[1], best[2]


def doubts(rungs: Sequence[Rung]) -> list[str]:
    """Return what makes a ladder's small rungs unlike its large ones."""
    found = []
    if any(rung.params_non_embedding < 1e6 for rung in rungs):
        found.append("the smallest rungs are below 1M parameters: benchmarks will be at chance there; use fewer rungs")
    if any(rung.steps < 500 for rung in rungs):
        found.append("some rungs take fewer than 500 steps: warm-up and decay will not be representative there")
    return found
