"""What is known of a law's parameters beforehand: a normal prior on a transform of each.

A law's own parameters are awkward to have opinions about: an irreducible loss lies between 0 and the smallest loss seen, an
amplitude spans decades. The transforms map each to a coordinate on the whole line where a normal prior makes sense.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import special

from forecast.laws.law import FloatArray


class Transform(Protocol):
    """A parameter theta as a function of its coordinate u, elementwise over B replicates."""

    def value(self, u: FloatArray) -> FloatArray:
        """theta(u), (B,)."""

    def slope(self, u: FloatArray) -> FloatArray:
        """D theta / du, (B,)."""


@dataclass(frozen=True)
class Affine:
    """theta = center + spread u; with the defaults, the parameter itself."""

    center: float = 0.0
    spread: float = 1.0

    def value(self, u: FloatArray) -> FloatArray:
        """See `Transform.value`."""
        return np.asarray(self.center + self.spread * u)

    def slope(self, u: FloatArray) -> FloatArray:
        """See `Transform.slope`."""
        return np.full_like(u, self.spread)


@dataclass(frozen=True)
class Log:
    """theta = unit exp(u); `unit` may differ between replicates, (B,)."""

    unit: float | FloatArray = 1.0

    def value(self, u: FloatArray) -> FloatArray:
        """See `Transform.value`."""
        return np.asarray(self.unit * np.exp(u))

    def slope(self, u: FloatArray) -> FloatArray:
        """See `Transform.slope`."""
        return self.value(u)


@dataclass(frozen=True)
class Logit:
    """theta = upper / (1 + exp(-u)), between 0 and `upper`, which may differ between replicates, (B,)."""

    upper: float | FloatArray = 1.0

    def value(self, u: FloatArray) -> FloatArray:
        """See `Transform.value`."""
        return np.asarray(self.upper * special.expit(u))

    def slope(self, u: FloatArray) -> FloatArray:
        """See `Transform.slope`."""
        return np.asarray(self.upper * special.expit(u) * special.expit(-u))


@dataclass(frozen=True, kw_only=True)
class Prior:
    """Normal prior on a parameter's coordinate; an infinite `sd` means none."""

    mean: float
    sd: float
    transform: Transform = Affine()
