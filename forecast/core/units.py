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
