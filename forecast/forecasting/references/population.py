"""What the hierarchical model is fitted on: final checkpoints of many families on many tasks, as arrays."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecast.core.observations import BoolArray, FloatArray

IntArray = NDArray[np.intp]

CENTER = 22.0
"""log10 of the compute at which curves are anchored: the middle of what has been published."""
CONCAVITY = 0.25
"""Per decade: a decade of compute buys exp(-.25) times as many logits as the one before it. Of 0, .1, .2, .25 and .3 the best
for held-out families at two runs and more; errors at one run hardly depend on it."""
STRAIGHT_BELOW = -4.0
"""Decades from the center below which the curve goes on straight: nothing was published there to bend it by."""


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where accuracies were or will be measured; K places."""

    task: IntArray
    """(K,) index of the task."""
    scale: FloatArray
    """(K,) bent log compute, by `scale_of`."""
    ratio: FloatArray
    """(K,) half of log10 of tokens per parameter, from 100 on; 0 where unknown."""
    model: IntArray
    """(K,) index of the checkpoint within its family: its luck is shared by all its tasks."""


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """Accuracies of one family; M of them."""

    at: Places
    accuracy: FloatArray
    variance: FloatArray
    """(M,) by the choice of items."""

    def rows(self, keep: BoolArray) -> Measurements:
        """Return the named rows, checkpoints counted anew."""
        _, model = np.unique(self.at.model[keep], return_inverse=True)
        at = Places(task=self.at.task[keep], scale=self.at.scale[keep], ratio=self.at.ratio[keep], model=model.astype(np.intp))
        return Measurements(at=at, accuracy=self.accuracy[keep], variance=self.variance[keep])


@dataclass(frozen=True, kw_only=True)
class Population:
    """Families with their measurements."""

    families: tuple[str, ...]
    measured: tuple[Measurements, ...]
    tasks: tuple[str, ...]
    chance: FloatArray
    """(T,) accuracy of guessing."""

    @property
    def content_hash(self) -> str:
        """Equal for equal content, across processes."""
        found = hashlib.sha256(repr((self.families, self.tasks)).encode())
        for array in (self.chance, *(a for m in self.measured for a in (*vars(m.at).values(), m.accuracy, m.variance))):
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()[:24]


def scale_of(flops: FloatArray) -> FloatArray:
    """Return bent log compute: (1 - exp(-.25 d)) / .25 at d decades from the center.

    >>> scale_of(np.array([1e22])).tolist()
    [0.0]
    """
    decades = np.log10(flops) - CENTER
    bent = -np.expm1(-CONCAVITY * np.maximum(decades, STRAIGHT_BELOW)) / CONCAVITY
    straight = np.exp(-CONCAVITY * STRAIGHT_BELOW) * np.minimum(decades - STRAIGHT_BELOW, 0.0)
    result: FloatArray = bent + straight
    return result


def ratio_of(params: FloatArray, tokens: FloatArray) -> FloatArray:
    """Return half of log10(D / (100 N)); 0 where a number is unknown.

    >>> ratio_of(np.array([1e9, np.nan]), np.array([1e12, 1e12])).tolist()
    [0.5, 0.0]
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        value = 0.5 * (np.log10(tokens / params) - 2.0)
    result: FloatArray = np.where(np.isfinite(value), value, 0.0)
    return result


def sampling_variance(accuracy: FloatArray, n_items: FloatArray) -> FloatArray:
    """Return p (1 - p) / items, with p within 2 and 98 %: no finite number of items shows that an accuracy is 0 or 1."""
    share = np.clip(accuracy, 0.02, 0.98)
    result: FloatArray = share * (1.0 - share) / n_items
    return result
