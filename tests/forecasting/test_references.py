"""The hierarchical model of other families' accuracies: recovery, honesty and speed of conditioning."""

from __future__ import annotations

import numpy as np
import pytest

from forecast.forecasting.references.conditioning import draw_accuracies
from forecast.forecasting.references.curves import OwnLayout, SharedLayout, curve
from forecast.forecasting.references.fitting import fit_population
from forecast.forecasting.references.population import Measurements, Places, Population, scale_of

TASKS, CHANCE = 4, np.array([0.25, 0.25, 0.5, 0.0])
FLOPS = np.array([1e20, 1e21, 1e22, 1e23])


def family(rng, shared, sizes=FLOPS, noise=0.1):
    """Measurements of one family drawn from the model."""
    layout = OwnLayout(tasks=TASKS, models=len(sizes))
    own = rng.normal(size=layout.size) * 0.1
    own[0] = rng.normal(0, 0.4)
    own[layout.shift] = rng.normal(0, 0.3, TASKS)
    task, model = np.meshgrid(np.arange(TASKS), np.arange(len(sizes)))
    at = Places(task=task.ravel(), scale=scale_of(sizes)[model.ravel()], ratio=np.zeros(task.size), model=model.ravel())
    values = curve(shared[None], own[None], at, CHANCE)
    y = values.accuracy[0] + values.steepness[0] * rng.normal(0, noise, task.size)
    return Measurements(at=at, accuracy=y, variance=np.full(y.size, 1e-5))


@pytest.fixture(scope="module")
def truth():
    layout = SharedLayout(tasks=TASKS)
    shared = np.zeros(layout.size)
    layout.part("b", shared)[:] = [-0.5, 0.5, 0.0, -2.0]
    layout.part("steepness", shared)[:] = np.log([1.0, 0.8, 0.6, 1.5])
    layout.part("ceiling", shared)[:] = 2.5
    return shared


@pytest.fixture(scope="module")
def fitted(truth):
    rng = np.random.default_rng(0)
    measured = tuple(family(rng, truth) for _ in range(16))
    names = tuple(f"f{i}" for i in range(len(measured)))
    return fit_population(Population(families=names, measured=measured, tasks=("a", "b", "c", "d"), chance=CHANCE))


def test_derivatives_are_those_of_the_curve(truth):
    rng = np.random.default_rng(1)
    measured = family(rng, truth)
    own = rng.normal(0, 0.2, OwnLayout(tasks=TASKS, models=4).size)
    at_zero = curve(truth[None], own[None], measured.at, CHANCE, with_shared=True)
    for vector, derivative in ((own, at_zero.by_own[0]), (truth, at_zero.by_shared[0])):
        for i in range(vector.size):
            step = np.zeros(vector.size)
            step[i] = 1e-6
            moved = [truth + step, own] if vector is truth else [truth, own + step]
            there = curve(moved[0][None], moved[1][None], measured.at, CHANCE).accuracy[0]
            np.testing.assert_allclose((there - at_zero.accuracy[0]) / 1e-6, derivative[:, i], atol=1e-5)


def test_shared_numbers_are_recovered(truth, fitted):
    layout = SharedLayout(tasks=TASKS)
    known, found = layout.part("b", truth), layout.part("b", fitted.shared)
    spread = np.sqrt(layout.part("b", np.diag(fitted.covariance)))
    assert (np.abs(found - known) < 3 * spread + 0.1).all()


@pytest.mark.parametrize("k", [1, 2, 3])
def test_forecasts_of_new_families_are_good_and_cover(truth, fitted, k):
    rng = np.random.default_rng(2)
    errors, naive, covered = [], [], []
    for i in range(60):
        new = family(rng, truth)
        seen = new.rows(new.at.model < k)
        target = new.rows(new.at.model == 3)
        draws = draw_accuracies(fitted, seen, target.at, seed=i)
        lo, median, hi = np.quantile(draws, [0.05, 0.5, 0.95], axis=0)
        errors += list(np.abs(median - target.accuracy))
        naive += list(np.abs(new.accuracy[new.at.model == k - 1] - target.accuracy))
        covered += list((lo <= target.accuracy) & (target.accuracy <= hi))
    assert np.mean(errors) < 0.5 * np.mean(naive)
    assert 0.83 <= np.mean(covered) <= 0.97


def test_without_own_runs_the_population_speaks(fitted):
    empty = np.zeros(0, dtype=np.intp)
    nothing = Measurements(
        at=Places(task=empty, scale=np.zeros(0), ratio=np.zeros(0), model=empty), accuracy=np.zeros(0), variance=np.zeros(0)
    )
    places = Places(task=np.array([0, 0]), scale=np.array([-2.0, 1.0]), ratio=np.zeros(2), model=np.array([0, 1]))
    low, high = np.median(draw_accuracies(fitted, nothing, places), axis=0)
    assert 0.2 < low < high < 0.95


def test_one_reference_alone_gives_a_wide_forecast(truth):
    rng = np.random.default_rng(3)
    alone = fit_population(
        Population(families=("f",), measured=(family(rng, truth),), tasks=("a", "b", "c", "d"), chance=CHANCE)
    )
    many = fit_population(
        Population(
            families=tuple("abcdefgh"),
            measured=tuple(family(rng, truth) for _ in range(8)),
            tasks=("a", "b", "c", "d"),
            chance=CHANCE,
        )
    )
    new = family(rng, truth)
    seen, target = new.rows(new.at.model < 1), new.rows(new.at.model == 3)
    width = [
        float(np.ptp(np.quantile(draw_accuracies(f, seen, target.at), [0.1, 0.9], axis=0), axis=0).mean())
        for f in (alone, many)
    ]
    assert np.isfinite(width).all()
    assert width[0] > 0.8 * width[1]


def test_content_decides_the_hash(truth):
    rng = np.random.default_rng(4)
    one = Population(families=("f",), measured=(family(rng, truth),), tasks=("a", "b", "c", "d"), chance=CHANCE)
    other = Population(families=("f",), measured=(family(rng, truth),), tasks=("a", "b", "c", "d"), chance=CHANCE)
    assert one.content_hash == one.content_hash != other.content_hash
