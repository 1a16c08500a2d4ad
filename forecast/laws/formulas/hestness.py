"""Hestness 2017: best-guess plateau, power law, irreducible error, with the regions' borders found."""

from __future__ import annotations

import numpy as np

from forecast.laws.law import FloatArray, Input, Law, Parameter, Role, Space, constants, stack, unpack
from forecast.laws.quantities import ERRORS, LOSSES
from forecast.laws.shapes import EXPONENTS


class Hestness(Law):
    """eps = min(guess, alpha m^beta + gamma), beta negative."""

    name = "hestness"
    title = "Hestness: learning curve in three regions"
    formula = "eps = min(guess, alpha * m^beta + gamma)"
    reference = "Hestness 2017 (arXiv:1712.00409), section 5 and figure 6"
    inputs = (Input(name="examples", unit="training examples or tokens m", typical=(1e2, 1e9), accepts=("tokens",)),)
    output = "error or loss"
    outputs = (*ERRORS, *LOSSES)
    parameters = (
        Parameter(name="guess", meaning="error of the best guess, reached with few data", lower=0.0),
        Parameter(name="alpha", meaning="amplitude", lower=0.0, log=True, role=Role.AMPLITUDE),
        Parameter(name="beta", meaning="exponent, negative", lower=-10.0, upper=-1e-4, role=Role.EXPONENT),
        Parameter(name="gamma", meaning="irreducible error", lower=0.0, role=Role.IRREDUCIBLE),
    )
    space = Space.LOG
    typical = constants(guess=2.0, alpha=30.0, beta=-0.3, gamma=0.2)

    def starts(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Border between plateau and power law at every place between measurements (or none), exponents from a grid."""
        order = np.argsort(x[..., 0], kind="stable")
        log_x, sorted_y = np.log(x[order, 0]), y[order]
        places = np.unique(np.linspace(0, max(len(y) - 2, 0), 24).astype(np.intp))
        low = float(np.min(y))
        rows = []
        for place in places:
            guess = float(np.mean(sorted_y[:place])) if place else 1.5 * float(np.max(y))
            for beta in EXPONENTS[4::4]:
                power = np.exp(-beta * (log_x[place:] - log_x[place]))
                for share in (0.0, 0.5, 0.9):
                    gamma = share * low
                    scale = float(np.median((sorted_y[place:] - gamma) / power))
                    rows.append((guess, max(scale, 1e-12) * np.exp(min(beta * log_x[place], 600.0)), -beta, gamma))
        return np.array(rows)

    def predict(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.predict`."""
        guess, alpha, beta, gamma = unpack(theta)
        return np.asarray(np.minimum(guess, np.exp(np.log(alpha) + beta * np.log(x[..., 0])) + gamma))

    def jacobian(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.jacobian`; at the border itself the power law's side is taken."""
        guess, alpha, beta, gamma = unpack(theta)
        power = np.exp(np.log(alpha) + beta * np.log(x[..., 0]))
        learning = (power + gamma <= guess).astype(np.float64)
        return stack(1.0 - learning, learning * power / alpha, learning * power * np.log(x[..., 0]), learning)


def region_borders(theta: FloatArray) -> tuple[float, float]:
    """Return (first, second) border in m: plateau to power law, and power law to irreducible error.

    The first is where both branches meet, alpha m^beta + gamma = guess; the second where the curve's slope in logarithms
    has fallen to half of beta, which is where alpha m^beta = gamma. Infinite where gamma is 0, 0 where there is no plateau.

    >>> [float(round(border, 3)) for border in region_borders(np.array([1.1, 10.0, -0.5, 0.1]))]
    [100.0, 10000.0]
    """
    guess, alpha, beta, gamma = (float(value) for value in theta)
    first = ((guess - gamma) / alpha) ** (1.0 / beta) if guess > gamma else 0.0
    second = (gamma / alpha) ** (1.0 / beta) if gamma > 0 else float("inf")
    return first, second


LAW = Hestness()
