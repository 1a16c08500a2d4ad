"""Shapes that several laws share under other names and units: a power of one scale, with and without an irreducible term."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from forecast.laws.law import FloatArray, Law, Space, stack, unpack

EXPONENTS = tuple(float(value) for value in np.geomspace(0.005, 3.0, 48))
"""Search grid of a positive exponent: a factor of 1.15 apart."""
SIGNED_EXPONENTS = (-1.0, -0.5, -0.2, -0.05, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0)


class PowerShape(Law):
    """y = A x^(sign b): parameters (amplitude, exponent), a straight line in logarithms."""

    sign: ClassVar[float] = -1.0
    space = Space.LOG

    def predict(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.predict`."""
        a, b = unpack(theta)
        return np.asarray(np.exp(np.log(a) + self.sign * b * np.log(x[..., 0])))

    def printed_value(self, x: float) -> float:
        """Return a x^(+-b) by the law's printed constants, to the last bit: `predict` goes through logarithms.

        What is hashed, as a learning rate in a training's plan is, must not depend on how a vector is computed.
        """
        printed = self.printed
        assert printed is not None, f"{self.name} has printed constants"
        return printed.params["a"] * math.pow(x, self.sign * printed.params["b"])

    def jacobian(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.jacobian`."""
        y = self.predict(x, theta)
        return stack(y / unpack(theta)[0], self.sign * y * np.log(x[..., 0]))


class ScaleShape(Law):
    """y = (s / x)^b: parameters (scale s, exponent b), Kaplan's way to write a power law."""

    space = Space.LOG

    def predict(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.predict`."""
        s, b = unpack(theta)
        return np.asarray(np.exp(b * (np.log(s) - np.log(x[..., 0]))))

    def jacobian(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.jacobian`."""
        s, b = unpack(theta)
        y = self.predict(x, theta)
        return stack(y * b / s, y * (np.log(s) - np.log(x[..., 0])))

    def starts(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """For each exponent of a grid, the scale that fits the mean logarithm."""
        b = np.array(EXPONENTS)
        log_s = np.mean(np.log(x[..., 0])) + np.mean(np.log(y)) / b
        return np.stack([np.exp(np.clip(log_s, -600.0, 600.0)), b], axis=-1)


class OffsetPowerShape(Law):
    """y = A x^(sign b) + e: parameters (amplitude, exponent, irreducible term)."""

    sign: ClassVar[float] = -1.0
    space = Space.LOG

    def _part(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        a, b, _ = unpack(theta)
        return np.asarray(np.exp(np.log(a) + self.sign * b * np.log(x[..., 0])))

    def predict(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.predict`."""
        return np.asarray(self._part(x, theta) + unpack(theta)[2])

    def jacobian(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.jacobian`."""
        part = self._part(x, theta)
        return stack(part / unpack(theta)[0], self.sign * part * np.log(x[..., 0]), np.ones_like(part))

    def curvature(self, x: FloatArray, theta: FloatArray, v: FloatArray) -> FloatArray:
        """See `Law.curvature`."""
        weighted = v * self._part(x, theta)
        log_x = np.log(x[..., 0])
        out = np.zeros((*theta.shape, 3))
        out[..., 0, 1] = out[..., 1, 0] = self.sign * (weighted @ log_x) / theta[..., 0]
        out[..., 1, 1] = weighted @ (log_x * log_x)
        return out
