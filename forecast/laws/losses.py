"""What makes a fit good: each loss gives, per measurement, its value and two derivatives with respect to the prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import special

from forecast.laws.law import FloatArray, Space

Terms = tuple[FloatArray, FloatArray, FloatArray]


class Loss(Protocol):
    """A sum over measurements of a function of prediction and measurement."""

    @property
    def name(self) -> str:
        """Name for people and results."""

    @property
    def is_likelihood(self) -> bool:
        """Whether the sum is a negative log-likelihood as it stands (its curvature is Fisher information)."""

    def terms(self, f: FloatArray, y: FloatArray, sigma: FloatArray, space: Space) -> Terms:
        """Return value, first and second derivative with respect to f, each of f's shape; infinite outside the domain."""


def _residual(f: FloatArray, y: FloatArray, sigma: FloatArray, space: Space) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Residual z and its two derivatives with respect to f; z is infinite where a logarithm has no value."""
    if space is Space.LINEAR:
        return (f - y) / sigma, 1.0 / sigma, np.zeros(1)
    safe = np.where(f > 0, f, 1.0)
    z = np.where(f > 0, (np.log(safe) - np.log(y)) / sigma, np.inf)
    slope = 1.0 / (safe * sigma)
    return z, slope, -slope / safe


def _chain(rho: FloatArray, rho1: FloatArray, rho2: FloatArray, slope: FloatArray, bend: FloatArray) -> Terms:
    return rho, rho1 * slope, rho2 * slope * slope + rho1 * bend


@dataclass(frozen=True)
class LeastSquares:
    """rho(z) = z^2 / 2."""

    space: Space | None = None
    name = "least-squares"
    is_likelihood = False

    def terms(self, f: FloatArray, y: FloatArray, sigma: FloatArray, space: Space) -> Terms:
        """See `Loss.terms`."""
        z, slope, bend = _residual(f, y, sigma, self.space or space)
        finite = np.where(np.isfinite(z), z, 0.0)
        return _chain(0.5 * z * z, finite, np.ones_like(z), slope, bend)


@dataclass(frozen=True)
class Huber:
    """rho(z) = z^2 / 2 for |z| <= delta, else delta (|z| - delta / 2). Hoffmann 2022 uses delta = 1e-3 on log residuals."""

    delta: float = 1e-3
    space: Space | None = None
    name = "huber"
    is_likelihood = False

    def terms(self, f: FloatArray, y: FloatArray, sigma: FloatArray, space: Space) -> Terms:
        """See `Loss.terms`."""
        z, slope, bend = _residual(f, y, sigma, self.space or space)
        clipped = np.clip(z, -self.delta, self.delta)
        inside = (np.abs(z) <= self.delta).astype(np.float64)
        return _chain(clipped * (z - 0.5 * clipped), clipped, inside, slope, bend)


@dataclass(frozen=True)
class SoftL1:
    """rho(z) = delta^2 (sqrt(1 + (z / delta)^2) - 1)."""

    delta: float = 1e-2
    space: Space | None = None
    name = "soft-l1"
    is_likelihood = False

    def terms(self, f: FloatArray, y: FloatArray, sigma: FloatArray, space: Space) -> Terms:
        """See `Loss.terms`."""
        z, slope, bend = _residual(f, y, sigma, self.space or space)
        finite = np.isfinite(z)
        q = np.where(finite, z, 0.0) / self.delta
        root = np.sqrt(1.0 + q * q)
        # q^2 / (root + 1) keeps digits that root - 1 would cancel.
        rho = np.where(finite, self.delta**2 * q * q / (root + 1.0), np.inf)
        return _chain(rho, self.delta * q / root, root**-3, slope, bend)


@dataclass(frozen=True, eq=False)
class Binomial:
    """Half the binomial deviance of fractions y of `n_items` answers: n [y ln(y/f) + (1 - y) ln((1 - y)/(1 - f))]."""

    n_items: FloatArray
    name = "binomial"
    is_likelihood = True

    def terms(self, f: FloatArray, y: FloatArray, sigma: FloatArray, space: Space) -> Terms:
        """See `Loss.terms`."""
        inside = (f > 0) & (f < 1)
        g = np.where(inside, f, 0.5)
        n = self.n_items
        value = n * (special.xlogy(y, y) + special.xlogy(1 - y, 1 - y) - special.xlogy(y, g) - special.xlogy(1 - y, 1 - g))
        first = n * (g - y) / (g * (1 - g))
        second = n * (y / g**2 + (1 - y) / (1 - g) ** 2)
        return np.where(inside, value, np.inf), first, second


@dataclass(frozen=True, eq=False)
class BetaBinomial:
    """Beta-binomial with mean f and intra-class correlation `rho`: variance n f (1 - f) (1 + (n - 1) rho).

    `rho` None is estimated with the other parameters by maximum likelihood.
    """

    n_items: FloatArray
    rho: float | None = None
    name = "beta-binomial"
    is_likelihood = True

    def terms(self, f: FloatArray, y: FloatArray, sigma: FloatArray, space: Space) -> Terms:
        """See `Loss.terms`; needs a number for rho."""
        if self.rho is None:
            raise ValueError("rho must be set before the loss is evaluated")
        s = 1.0 / self.rho - 1.0
        n = self.n_items
        k = n * y
        inside = (f > 0) & (f < 1)
        g = np.where(inside, f, 0.5)
        a, b = g * s, (1 - g) * s
        value = special.betaln(a, b) - special.betaln(k + a, n - k + b)
        # The binomial coefficient is constant in f but not in n: with it the sum compares different rho and data.
        value += special.betaln(k + 1, n - k + 1) + np.log(n + 1)
        first = s * (special.digamma(a) - special.digamma(k + a) - special.digamma(b) + special.digamma(n - k + b))
        second = s * s * (_trigamma(a) - _trigamma(k + a) + _trigamma(b) - _trigamma(n - k + b))
        return np.where(inside, value, np.inf), first, second


def _trigamma(z: FloatArray) -> FloatArray:
    return np.asarray(special.polygamma(1, z), dtype=np.float64)
