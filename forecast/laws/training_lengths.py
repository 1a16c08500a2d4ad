"""How long a family's runs were trained, in tokens per parameter, and at which length two families can be compared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecast.core.observations import FloatArray

_SAME_RATIO = 1.1
"""Families whose tokens per parameter all lie within this factor were trained alike: compute alone compares them."""


@dataclass(frozen=True, kw_only=True)
class TokensPerParam:
    """Training tokens per parameter over a family's runs."""

    low: float
    median: float
    high: float


def tokens_per_param(params: FloatArray | None, tokens: FloatArray | None) -> TokensPerParam | None:
    """Training tokens per parameter over the rows (rows,), None where a row does not state both."""
    if params is None or tokens is None:
        return None
    ratio = tokens / params
    return TokensPerParam(low=float(ratio.min()), median=float(np.median(ratio)), high=float(ratio.max()))


def _differ(a: TokensPerParam | None, b: TokensPerParam | None) -> bool:
    """Whether runs of the two families may differ in tokens per parameter; unknown counts as no."""
    return a is not None and b is not None and max(a.high, b.high) > _SAME_RATIO * min(a.low, b.low)


def common_ratio(a: TokensPerParam | None, b: TokensPerParam | None) -> float | None:
    """Tokens per parameter to compare at: within both families' ranges, nearest to the middle of their medians.

    None where they are not known, do not differ, or have no value in common.
    """
    if a is None or b is None or not _differ(a, b):
        return None
    low, high = max(a.low, b.low), min(a.high, b.high)
    if low > high * _SAME_RATIO:
        return None
    return float(np.clip(np.sqrt(a.median * b.median), min(low, high), max(low, high)))


def mixed_lengths(family_a: str, family_b: str, a: TokensPerParam | None, b: TokensPerParam | None) -> list[str]:
    """What a ratio by compute alone may count beside efficiency."""
    if a is None or b is None:
        lacking = " and ".join(name for name, known in ((family_a, a), (family_b, b)) if known is None)
        return [
            f"Tokens per parameter of {lacking} are not known: where the families were trained for different lengths, "
            "this ratio is of training length as well as of efficiency"
        ]
    if not _differ(a, b):
        return []
    ranges = f"{family_a}: {a.low:.3g} to {a.high:.3g}, {family_b}: {b.low:.3g} to {b.high:.3g}"
    return [f"Tokens per parameter differ ({ranges}), so this ratio is of training length as well as of efficiency"]
