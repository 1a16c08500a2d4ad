"""The gain of examples over compute: recovered curves and starts, honest intervals, and nothing where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest

from forecast.core.errors import FitError
from forecast.laws.example_gain import FittedGain, PairedRows, fit_gain

FLOPS = np.geomspace(1e18, 1e22, 12)
RUNS = tuple(f"m{i}" for i in range(len(FLOPS)))


def true_gain(flops: np.ndarray, height: float) -> np.ndarray:
    return height / (1 + np.exp(-(np.log10(flops) - 20) / 0.3))


def rows(seed: int, height: float, items: int = 600) -> PairedRows:
    rng = np.random.default_rng(seed)
    base = np.linspace(0.3, 0.6, len(FLOPS))
    a = rng.random((len(FLOPS), items)) < base[:, None]
    b = rng.random((len(FLOPS), items)) < (base + true_gain(FLOPS, height))[:, None]
    cells = b.astype(float) - a
    se = cells.std(axis=1, ddof=1) / np.sqrt(items)
    return PairedRows(flops=FLOPS, run=RUNS, gain=cells.mean(axis=1), se=se, items=cells)


def fitted(data: PairedRows, margin: float = 0.0, seed: int = 0) -> FittedGain:
    return fit_gain(data, margin=margin, level=0.9, replicates=200, seed=seed)


def test_intervals_hold_the_true_gain_and_start() -> None:
    at_top, onset = 0, 0
    start = 10 ** (20 + 0.3 * np.log(0.1 / (0.3 - 0.1)))
    for seed in range(30):
        found = fitted(rows(seed, 0.3), margin=0.1, seed=seed)
        assert found.status == "seen"
        assert found.onset.point == pytest.approx(start, rel=3.0)
        at_top += found.at_largest.lo <= true_gain(FLOPS, 0.3)[-1] <= found.at_largest.hi
        onset += (found.onset.lo or 0) <= start <= (found.onset.hi or np.inf)
    assert at_top >= 25
    assert onset >= 25


def test_no_gain_is_seldom_seen() -> None:
    seen = sum(fitted(rows(seed, 0.0), seed=seed).status in {"seen", "before-data"} for seed in range(40))
    assert seen <= 5


def test_a_gain_everywhere_starts_before_the_data() -> None:
    rng = np.random.default_rng(0)
    data = PairedRows(flops=FLOPS, run=RUNS, gain=0.2 + 0.005 * rng.standard_normal(12), se=np.full(12, 0.005))
    found = fitted(data)
    assert (found.status, found.onset.point, found.onset.lo) == ("before-data", None, None)
    assert fitted(data, margin=0.5).status == "not-seen"


def test_pairing_narrows_the_standard_error() -> None:
    rng = np.random.default_rng(1)
    hard = rng.random(500)
    a = (hard[None] < np.linspace(0.3, 0.6, 12)[:, None]).astype(float)
    b = (hard[None] < np.linspace(0.33, 0.7, 12)[:, None]).astype(float)
    se = (b - a).std(axis=1, ddof=1) / np.sqrt(500)
    paired = fitted(PairedRows(flops=FLOPS, run=RUNS, gain=(b - a).mean(1), se=se, items=b - a))
    apart = fitted(PairedRows(flops=FLOPS, run=RUNS, gain=(b - a).mean(1), se=np.full(12, np.sqrt(2 * 0.25 / 500))))
    assert paired.at_largest.hi - paired.at_largest.lo < apart.at_largest.hi - apart.at_largest.lo


def test_few_scales_get_a_line_and_one_run_is_refused() -> None:
    few = PairedRows(flops=FLOPS[:4], run=RUNS[:4], gain=np.array([0.0, 0.1, 0.2, 0.3]), se=np.full(4, 0.01))
    assert fitted(few).shape == "line"
    assert fitted(few).curve[-1].gain == pytest.approx(0.3, abs=1e-9)
    one = PairedRows(flops=FLOPS[:3], run=("m",) * 3, gain=np.zeros(3), se=np.zeros(3))
    with pytest.raises(FitError, match="of 1 runs"):
        fitted(one)


def test_the_same_seed_gives_the_same_interval() -> None:
    assert fitted(rows(3, 0.2)).curve == fitted(rows(3, 0.2)).curve
