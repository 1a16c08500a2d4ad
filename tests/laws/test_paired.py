"""Paired differences: standard errors as in simulations, tests of their nominal size, brute-force checks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from forecast.laws.paired import holm, paired_difference


def answers(rng, n, *, gain=0.0, clusters=0):
    """Right and wrong of two models on n items of different difficulty; within a cluster difficulties and gains are shared."""
    shared = rng.normal(size=clusters)[np.arange(n) % clusters] if clusters else np.zeros(n)
    wobble = 0.6 * rng.normal(size=(2, clusters))[:, np.arange(n) % clusters] if clusters else np.zeros((2, n))
    ease = 1.5 * rng.normal(size=n) + shared
    p = 1 / (1 + np.exp(-np.stack([ease + gain, ease]) - wobble))
    return (rng.random((2, n)) < p).astype(float)


@pytest.mark.parametrize("clusters", [0, 40])
def test_standard_errors_are_those_of_a_simulation(clusters):
    rng = np.random.default_rng(1)
    names = [str(i % clusters) for i in range(800)] if clusters else None
    found = [paired_difference(*answers(rng, 800, gain=0.3, clusters=clusters), names) for _ in range(600)]
    assert np.sqrt(np.mean([one.se**2 for one in found])) == pytest.approx(np.std([one.difference for one in found]), rel=0.08)


def test_the_exact_test_keeps_its_size():
    rng = np.random.default_rng(2)
    rejected = np.mean([paired_difference(*answers(rng, 500)).p_value < 0.05 for _ in range(1000)])
    assert 0.025 < rejected < 0.065
    names = [str(i % 40) for i in range(400)]
    clustered = [paired_difference(*answers(rng, 400, clusters=40), names, seed=i) for i in range(100)]
    assert 0.0 < np.mean([one.p_value < 0.05 for one in clustered]) < 0.11
    naive = [paired_difference(*answers(rng, 400, clusters=40)).p_value < 0.05 for _ in range(300)]
    assert np.mean(naive) > 0.07


def test_clusters_that_hold_one_item_each_change_nothing():
    a, b = answers(np.random.default_rng(3), 60)
    assert paired_difference(a, b, [str(i) for i in range(60)]) == paired_difference(a, b)


def test_the_detectable_difference_is_found_with_its_power():
    rng = np.random.default_rng(4)
    n, gain = 1000, 0.35
    found = [paired_difference(*answers(rng, n, gain=gain)) for _ in range(400)]
    true = np.mean([one.difference for one in found])
    power = np.mean([one.p_value < 0.05 for one in found])
    se = np.mean([one.se for one in found])
    expected = stats.norm.sf(stats.norm.ppf(0.975) - true / se)
    assert power == pytest.approx(expected, abs=0.06)
    assert found[0].detectable == pytest.approx((1.959964 + 0.841621) * found[0].se, rel=1e-6)


def test_few_clusters_are_enumerated():
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(2, 20))
    names = [str(i % 5) for i in range(20)]
    sums = [sum(a[i] - b[i] for i in range(20) if i % 5 == k) for k in range(5)]
    patterns = itertools.product([1, -1], repeat=5)
    totals = [abs(sum(sign * value for sign, value in zip(signs, sums, strict=True))) for signs in patterns]
    expected = np.mean([total >= abs(sum(sums)) - 1e-12 for total in totals])
    assert paired_difference(a, b, names).p_value == pytest.approx(expected)


def test_identical_models_and_single_items():
    same = paired_difference(np.ones(5), np.ones(5))
    assert (same.difference, same.se, same.p_value, same.a_higher, same.b_higher) == (0.0, 0.0, 1.0, 0, 0)
    one = paired_difference(np.ones(1), np.zeros(1))
    assert one.difference == 1.0
    assert one.p_value == 1.0
    assert np.isnan(one.se)
    with pytest.raises(ValueError, match="items of shape"):
        paired_difference(np.ones(0), np.ones(0))


def test_holm_never_orders_differently_and_is_at_most_bonferroni():
    rng = np.random.default_rng(6)
    for _ in range(20):
        p = rng.random(7).tolist()
        adjusted = holm(p)
        assert all(raw <= new <= min(1, 7 * raw) + 1e-12 for raw, new in zip(p, adjusted, strict=True))
        assert np.all(np.diff(np.array(adjusted)[np.argsort(p)]) >= 0)
    assert holm([]) == []
