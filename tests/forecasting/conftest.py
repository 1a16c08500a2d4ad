"""Families whose truth is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from forecast.core.observations import ItemMatrix, Ladder

Simulate = Callable[..., Ladder]


def simulate_ladder(
    *,
    sizes: int = 5,
    ratios: tuple[float, ...] = (10.0, 40.0),
    smallest: float = 3e7,
    growth: float = 2.2,
    items: int = 1000,
    chance: float = 0.25,
    ceiling: float = 0.95,
    hardness: float = 1.3,
    seed: int = 0,
    with_items: bool = False,
    run_noise: float = 0.004,
) -> Ladder:
    """Runs at sizes x tokens per parameter: NLL by a law in N and D, accuracy by a sigmoid of it, binomial over items."""
    rng = np.random.default_rng(seed)
    n = np.repeat(smallest * growth ** np.arange(sizes), len(ratios))
    d = n * np.tile(ratios, sizes)
    nll = 0.45 + 130.0 / n**0.31 + 160.0 / d**0.31
    nll = nll * np.exp(run_noise * rng.standard_normal(n.size))
    p = chance + (ceiling - chance) / (1.0 + np.exp(9.0 * (nll - hardness + 0.25)))
    matrix = (rng.random((n.size, items)) < p[:, None]).astype(float)
    acc = matrix.mean(axis=1)
    item_nll = nll[:, None] + 0.2 * rng.standard_normal((n.size, items)) * np.ones((n.size, items))
    item_nll += (nll - item_nll.mean(axis=1))[:, None]
    return Ladder(
        family="simulated",
        task="quiz",
        model=tuple(f"m{i:02d}" for i in range(n.size)),
        params=n,
        tokens=d,
        flops=6 * n * d,
        step=np.full(n.size, np.nan),
        is_final=np.ones(n.size, dtype=bool),
        metrics={"acc": acc, "nll_per_char": nll, "nll_choice_norm": nll * 0.9},
        n_items=np.full(n.size, float(items)),
        chance=chance,
        flops_convention="6nd-total",
        items=ItemMatrix(correct={"acc": matrix}, nll={"nll_per_char": item_nll}) if with_items else None,
    )


@pytest.fixture
def simulate() -> Simulate:
    return simulate_ladder
