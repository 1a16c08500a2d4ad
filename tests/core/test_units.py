"""Training FLOPs by 6 N D."""

from __future__ import annotations

import pytest

from forecast.core.errors import ForecastError
from forecast.core.units import training_flops


def test_llama3_405b_by_6nd() -> None:
    # Llama 3 (arXiv:2407.21783) prints 3.8e25 for 405B parameters on 15.6T tokens; 6ND gives 3.79e25.
    assert training_flops(405e9, 15.6e12) == pytest.approx(3.79e25, rel=1e-3)


@pytest.mark.parametrize(("params", "tokens"), [(0, 1), (-1, 1), (1, -1), (float("nan"), 1), (1, float("inf"))])
def test_impossible_sizes_are_refused(params: float, tokens: float) -> None:
    with pytest.raises(ForecastError, match="cannot count FLOPs"):
        training_flops(params, tokens)
