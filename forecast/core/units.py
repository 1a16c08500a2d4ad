"""Training compute: FLOPs of one stated convention, never of two mixed.

N counts parameters, D training tokens, C training FLOPs. Papers count C differently; a number without its convention
cannot be compared with another.
"""

from __future__ import annotations

import math
from enum import StrEnum

from forecast.core.errors import ForecastError

FLOPS_PER_PARAM_TOKEN = 6.0
"""Forward (2) and backward (4) multiply-adds per parameter and token: Kaplan 2020 (arXiv:2001.08361), section 2.1."""


class FlopsConvention(StrEnum):
    """How a number of training FLOPs was counted."""

    SIX_ND_TOTAL = "6nd-total"
    """6 N D, N = all parameters, embeddings included (Hoffmann 2022 approach 2 and 3, Gadre 2024)."""
    SIX_ND_NON_EMBEDDING = "6nd-non-embedding"
    """6 N D, N without embedding matrices (Kaplan 2020; Pythia's published table)."""
    DEEPSEEK_MD = "deepseek-md"
    """M D with M = 72 n_layer d_model^2 + 12 n_layer d_model n_ctx (DeepSeek 2024, arXiv:2401.02954)."""
    ATTENTION_6ND = "6nd-attention"
    """6 N_non_embedding D plus the attention products, 12 n_layer d_model n_ctx D (PaLM appendix B, arXiv:2204.02311)."""
    MEASURED = "measured"
    """Counted by a profiler during the run."""
    PUBLISHED = "published"
    """Printed by the source, by the source's own convention."""


def training_flops(params: float, tokens: float) -> float:
    """C = 6 N D in FLOPs; whether N counts embeddings decides the convention that the result must be stored with.

    >>> training_flops(1e9, 2e10)
    1.2e+20
    """
    if not (math.isfinite(params) and params > 0 and math.isfinite(tokens) and tokens >= 0):
        raise ForecastError(
            f"cannot count FLOPs of params={params!r} and tokens={tokens!r}",
            expected="params > 0 and tokens >= 0",
        )
    return FLOPS_PER_PARAM_TOKEN * params * tokens


def checkpoint_flops(
    *,
    params: float | None,
    params_non_embedding: float | None = None,
    tokens: float | None,
    convention: FlopsConvention = FlopsConvention.SIX_ND_TOTAL,
) -> tuple[float | None, str | None]:
    """Return a checkpoint's training FLOPs with the name of their convention, (None, None) where they cannot be counted.

    Args:
        params: N, embeddings included.
        params_non_embedding: N without embedding matrices.
        tokens: D.
        convention: one that follows from N and D; of others nothing is known.

    >>> checkpoint_flops(params=1e9, tokens=2e10)
    (1.2e+20, '6nd-total')
    >>> checkpoint_flops(params=1e9, tokens=2e10, convention=FlopsConvention.SIX_ND_NON_EMBEDDING)
    (None, None)
    """
    counted = {
        FlopsConvention.SIX_ND_TOTAL: params,
        FlopsConvention.SIX_ND_NON_EMBEDDING: params_non_embedding,
    }.get(convention)
    if not counted or tokens is None:
        return None, None
    return training_flops(counted, tokens), convention.value


def deepseek_flops_per_token(n_layer: int, d_model: int, n_ctx: int) -> float:
    """M = 72 n_layer d_model^2 + 12 n_layer d_model n_ctx: training FLOPs per token without embeddings, with attention.

    DeepSeek 2024 (arXiv:2401.02954), equation 2; C = M D. The first term is 6 N of a transformer of N = 12 n_layer d_model^2.

    Args:
        n_layer: layers.
        d_model: width.
        n_ctx: tokens of a training sequence.

    >>> deepseek_flops_per_token(30, 4096, 4096)  # the shape of DeepSeek LLM 7B
    42278584320.0
    """
    if min(n_layer, d_model, n_ctx) < 1:
        raise ForecastError(f"no transformer has {n_layer} layers of width {d_model} on {n_ctx} tokens", expected="at least 1")
    return 72.0 * n_layer * d_model**2 + attention_flops_per_token(n_layer, d_model, n_ctx)


def attention_flops_per_token(n_layer: int, d_model: int, n_ctx: int) -> float:
    """12 n_layer d_model n_ctx: training FLOPs per token of the attention products (PaLM, arXiv:2204.02311, appendix B).

    >>> attention_flops_per_token(12, 768, 2048)
    226492416.0
    """
    return 12.0 * n_layer * d_model * n_ctx
