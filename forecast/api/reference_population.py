"""From reference runs to the fitted hierarchical model, kept between calls by what it was fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache

import numpy as np

from forecast.core.observations import FloatArray
from forecast.core.user_cache import read_cached, write_cached
from forecast.forecasting.references.curves import SharedLayout
from forecast.forecasting.references.fitting import FittedPopulation, Spreads, fit_population
from forecast.forecasting.references.population import (
    Measurements,
    Places,
    Population,
    ratio_of,
    sampling_variance,
    scale_of,
)
from forecast.observations.reference_runs import ReferenceRuns

VERSION = 1
"""Of the model: a change of its formulas makes what was kept useless."""


def population_of(runs: Sequence[ReferenceRuns], tasks: Sequence[str], chance: FloatArray) -> Population:
    """Return references as arrays.

    Args:
        runs: at most one entry per family and task.
        tasks: identities of the tasks, in order.
        chance: (T,) accuracy of guessing.
    """
    families: dict[str, list[ReferenceRuns]] = {}
    for entry in sorted(runs, key=lambda entry: (entry.family, entry.identity)):
        families.setdefault(entry.family, []).append(entry)
    return Population(
        families=tuple(families),
        measured=tuple(measurements_of(entries, tasks) for entries in families.values()),
        tasks=tuple(tasks),
        chance=chance,
    )


def measurements_of(runs: Sequence[ReferenceRuns], tasks: Sequence[str]) -> Measurements:
    """Return one family's runs on any of the tasks as arrays; a checkpoint is known by its name and compute."""
    used = [entry for entry in runs if entry.identity in tasks]
    names = {key: i for i, key in enumerate(sorted({key for entry in used for key in _checkpoints(entry)}))}
    empty = [np.zeros(0)]
    accuracy = np.concatenate([entry.accuracy for entry in used] or empty)
    places = Places(
        task=np.concatenate([np.full(len(entry.model), list(tasks).index(entry.identity)) for entry in used] or empty).astype(
            np.intp
        ),
        scale=scale_of(np.concatenate([entry.flops for entry in used] or empty)),
        ratio=np.concatenate([ratio_of(entry.params, entry.tokens) for entry in used] or empty),
        model=np.array([names[key] for entry in used for key in _checkpoints(entry)], dtype=np.intp),
    )
    items = np.concatenate([entry.n_items for entry in used] or empty)
    return Measurements(at=places, accuracy=accuracy, variance=sampling_variance(accuracy, items))


def _checkpoints(entry: ReferenceRuns) -> list[tuple[float, str]]:
    # Compute to a tenth of a decade: two tables of one family count it a little differently.
    return [(round(float(np.log10(c)), 1), name) for c, name in zip(entry.flops, entry.model, strict=True)]


def fitted_population(population: Population) -> FittedPopulation:
    """Return the model fitted to a population: from memory, from the user's cache, or by fitting it."""
    return _fitted(population.content_hash, _Unhashed(population))


class _Unhashed:
    """Keeps arrays out of the memory's key: their hash stands there already."""

    def __init__(self, population: Population) -> None:
        self.population = population

    def __hash__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Unhashed)


@lru_cache(maxsize=64)
def _fitted(content: str, wrapped: _Unhashed) -> FittedPopulation:
    population, name = wrapped.population, f"references/v{VERSION}-{content}.json"
    size = SharedLayout(tasks=len(population.tasks)).size
    kept = read_cached(name)
    try:
        shared, covariance = (np.array(kept[key], dtype=np.float64) for key in ("shared", "covariance"))
        if shared.shape == (size,) and covariance.shape == (size, size) and np.isfinite(covariance).all():
            return FittedPopulation(
                tasks=population.tasks,
                chance=population.chance,
                shared=shared,
                covariance=covariance,
                spreads=Spreads(**kept["spreads"]),
            )
    except (TypeError, KeyError, ValueError):
        pass  # Nothing was kept, or not what is expected: fit again.
    found = fit_population(population)
    content_of = {"shared": found.shared.tolist(), "covariance": found.covariance.tolist(), "spreads": asdict(found.spreads)}
    write_cached(name, content_of)
    return found
