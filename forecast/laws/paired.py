"""Whether one model is better than another on the same items: paired difference, its standard error, an exact test.

Items that both models answer are paired: what makes an item hard for both cancels, so the standard error is that of the
differences and not of the two means (Miller 2024, arXiv 2411.00640, section 4). Items that share a passage or a subject are not
independent; their differences are summed by cluster (section 2.2 there).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

POWER = 0.8
"""Probability with which the smallest detectable difference would be found."""
SIGNIFICANCE = 0.05
"""Two-sided size of the test that the detectable difference is about."""
_ENUMERATED = 16
"""Clusters up to which all sign patterns are enumerated; beyond it they are drawn."""
_DRAWN = 20_000


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """A minus B over the items that both answered, in the metric's unit."""

    mean_a: float
    mean_b: float
    difference: float
    se: float
    """Standard error of the difference; NaN for a single item or a single cluster."""
    p_value: float
    """Two-sided: McNemar's exact test of right and wrong, the exact sign test of others; a sign-flip test of clusters."""
    n_items: int
    n_clusters: int | None
    """None where every item stands for itself."""
    a_higher: int
    """Items on which A's value is above B's: for accuracies, that A alone has right."""
    b_higher: int

    @property
    def detectable(self) -> float:
        """Smallest true difference that a test of size .05 finds with a probability of .8: (z_.975 + z_.8) se."""
        from scipy import stats

        return float((stats.norm.ppf(1 - SIGNIFICANCE / 2) + stats.norm.ppf(POWER)) * self.se)


def paired_difference(
    a: NDArray[np.float64], b: NDArray[np.float64], clusters: Sequence[str] | None = None, *, seed: int = 0
) -> PairedDifference:
    """Compare two models on the same items.

    Args:
        a: (items,) values of A, right or wrong as 1 and 0, or any other metric.
        b: (items,) values of B, in the same order.
        clusters: the passage or subject of each item; None where every item stands for itself.
        seed: of the drawn sign patterns of a test with many clusters.

    Raises:
        ValueError: no items, or arrays of different lengths.

    >>> paired_difference(np.array([1.0, 1, 1, 0]), np.array([1.0, 0, 0, 0])).p_value
    0.5
    """
    if a.shape != b.shape or a.ndim != 1 or not a.size:
        raise ValueError(f"items of shape {a.shape} and {b.shape}")
    difference = a - b
    sums: NDArray[np.float64] = difference
    n_clusters: int | None = None
    if clusters is not None and len(set(clusters)) < a.size:
        _, member = np.unique(np.asarray(clusters, dtype=object).astype(str), return_inverse=True)
        n_clusters = int(member.max()) + 1
        sums = np.bincount(member, weights=difference).astype(np.float64)
        centred: NDArray[np.float64] = np.bincount(member, weights=difference - difference.mean()).astype(np.float64)
    else:
        centred = difference - difference.mean()
    groups = len(sums)
    scale = groups / (groups - 1) if groups > 1 else float("nan")
    a_higher, b_higher = int((difference > 0).sum()), int((difference < 0).sum())
    return PairedDifference(
        mean_a=float(a.mean()),
        mean_b=float(b.mean()),
        difference=float(difference.mean()),
        se=float(np.sqrt(scale * np.square(centred).sum()) / a.size),
        p_value=_sign_test(a_higher, b_higher) if n_clusters is None else _sign_flip_test(sums, seed),
        n_items=int(a.size),
        n_clusters=n_clusters,
        a_higher=a_higher,
        b_higher=b_higher,
    )


def _sign_test(higher: int, lower: int) -> float:
    """Exact two-sided binomial test that either sign is equally likely; for right and wrong this is McNemar's (1947)."""
    from scipy import stats

    return float(stats.binomtest(higher, higher + lower).pvalue) if higher + lower else 1.0


def _sign_flip_test(sums: NDArray[np.float64], seed: int) -> float:
    """Share of sign patterns of the clusters' sums whose total is at least as far from 0 as the observed one."""
    sums = sums[sums != 0.0]
    if not sums.size:
        return 1.0
    # Totals that differ by rounding alone are equal.
    bar = abs(float(sums.sum())) * (1.0 - 1e-9)
    if sums.size <= _ENUMERATED:
        patterns = 1.0 - 2.0 * ((np.arange(2**sums.size)[:, None] >> np.arange(sums.size)) & 1)
        return float(np.mean(np.abs(patterns @ sums) >= bar))
    rng = np.random.default_rng(seed)
    found, left = 0, _DRAWN
    while left:
        part = min(left, 4096)
        found += int((np.abs((1.0 - 2.0 * rng.integers(0, 2, (part, sums.size))) @ sums) >= bar).sum())
        left -= part
    # The observed pattern is one of them, so that a p-value is never 0 (Phipson & Smyth 2010, doi:10.2202/1544-6115.1585).
    return (found + 1) / (_DRAWN + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for the number of tests: Holm's step-down procedure (1979), which controls the family-wise error.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    adjusted = np.ones(len(p_values))
    largest = 0.0
    for rank, index in enumerate(order.tolist()):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return [float(value) for value in adjusted]
