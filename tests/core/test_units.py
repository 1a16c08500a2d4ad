"""Training FLOPs by 6 N D."""

from __future__ import annotations

import pytest

from forecast.core.errors import ForecastError
from forecast.core.units import FlopsConvention, checkpoint_flops, training_flops


def test_llama3_405b_by_6nd() -> None:
    # Llama 3 (arXiv:2407.21783) prints 3.8e25 for 405B parameters on 15.6T tokens; 6ND gives 3.79e25.
    assert training_flops(405e9, 15.6e12) == pytest.approx(3.79e25, rel=1e-3)


@pytest.mark.parametrize(("params", "tokens"), [(0, 1), (-1, 1), (1, -1), (float("nan"), 1), (1, float("inf"))])
def test_impossible_sizes_are_refused(params: float, tokens: float) -> None:
    with pytest.raises(ForecastError, match="cannot count FLOPs"):
        training_flops(params, tokens)


def test_a_checkpoints_flops_carry_their_convention() -> None:
    both = {"params": 2e9, "params_non_embedding": 1e9, "tokens": 1e10}
    assert checkpoint_flops(**both) == (1.2e20, "6nd-total")
    assert checkpoint_flops(**both, convention=FlopsConvention.SIX_ND_NON_EMBEDDING) == (6e19, "6nd-non-embedding")
    assert checkpoint_flops(params=2e9, tokens=0) == (0.0, "6nd-total")


def test_flops_that_cannot_be_counted_are_unknown() -> None:
    assert checkpoint_flops(params=None, tokens=1e10) == (None, None)
    assert checkpoint_flops(params=2e9, tokens=None) == (None, None)
    for convention in (FlopsConvention.PUBLISHED, FlopsConvention.DEEPSEEK_MD, FlopsConvention.SIX_ND_NON_EMBEDDING):
        assert checkpoint_flops(params=2e9, tokens=1e10, convention=convention) == (None, None)
