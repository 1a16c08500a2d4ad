"""Alabdulmohsin 2022's M4: a power law between two limits, defined implicitly."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import special

from forecast.laws.law import FloatArray, Input, Law, Parameter, Role, Space, constants, stack, unpack
from forecast.laws.quantities import ERRORS, LOSSES

_NEWTON_STEPS = 60


class M4(Law):
    """(y - e_inf) / (e_0 - y)^alpha = beta x^c, c negative: y falls from e_0 to e_inf."""

    name = "m4"
    title = "Alabdulmohsin M4: power law between two limits"
    formula = "(y - e_inf) / (e_0 - y)^alpha = beta * x^c"
    reference = "Alabdulmohsin 2022 (arXiv:2209.06640), eq. 4"
    inputs = (Input(name="examples", unit="training examples seen", typical=(1e4, 1e10), accepts=("tokens",)),)
    output = "error or loss"
    outputs = (*LOSSES, *ERRORS)
    parameters = (
        Parameter(name="e_inf", meaning="limit with infinite data", lower=0.0, role=Role.IRREDUCIBLE),
        Parameter(name="e_0", meaning="value of guessing", lower=0.0),
        Parameter(name="alpha", meaning="how sharply guessing is left; 0 gives M2", lower=0.0, upper=20.0),
        Parameter(name="beta", meaning="amplitude", lower=0.0, log=True, role=Role.AMPLITUDE),
        Parameter(name="c", meaning="exponent, negative", lower=-10.0, upper=-1e-4, role=Role.EXPONENT),
    )
    space = Space.LOG
    costly = True
    typical = constants(e_inf=0.1, e_0=1.0, alpha=0.8, beta=3e3, c=-0.5)

    def starts(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Both limits and alpha from grids; beta and c then follow from a straight line in logarithms."""
        low, high = float(np.min(y)), float(np.max(y))
        log_x = np.log(x[..., 0])
        design = np.stack([np.ones_like(log_x), log_x], axis=-1)
        rows = []
        for e_inf in low * np.array([0.0, 0.3, 0.6, 0.8, 0.9, 0.97, 0.995]):
            for e_0 in high * np.array([1.003, 1.05, 1.3, 2.0, 4.0]):
                for alpha in (0.0, 0.25, 0.5, 1.0, 2.0, 4.0):
                    left = np.log(y - e_inf) - alpha * np.log(e_0 - y)
                    (log_beta, c), *_ = np.linalg.lstsq(design, left, rcond=None)
                    rows.append((e_inf, e_0, alpha, np.exp(np.clip(log_beta, -600, 600)), min(c, -1e-3)))
        return np.array(rows)

    def domain(self, x: FloatArray, y: FloatArray) -> Mapping[str, tuple[float, float]]:
        """Both limits enclose the measurements: the left side of the formula must exist for each of them."""
        low, high = float(np.min(y)), float(np.max(y))
        return {"e_inf": (0.0, low), "e_0": (high, np.inf)}

    def _gaps(self, x: FloatArray, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(y - e_inf, e_0 - y): with y = e_inf + w expit(s), solve log expit(s) - alpha log expit(-s) = g for s by Newton."""
        e_inf, e_0, alpha, beta, c = unpack(theta)
        w = np.where(e_0 > e_inf, e_0 - e_inf, np.nan)
        g = np.log(beta) + c * np.log(x[..., 0]) + (alpha - 1.0) * np.log(w)
        s = np.where(g < 0, g, g / np.maximum(alpha, 1e-3))
        for _ in range(_NEWTON_STEPS):
            value = special.log_expit(s) - alpha * special.log_expit(-s) - g
            step = value / np.maximum(special.expit(-s) + alpha * special.expit(s), 1e-12)
            s = s - np.clip(step, -20.0, 20.0)
            if not np.any(np.abs(step) > 1e-13 * (1.0 + np.abs(s))):
                break
        return np.asarray(w * special.expit(s)), np.asarray(w * special.expit(-s))

    def predict(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.predict`; NaN where e_0 is not above e_inf."""
        with np.errstate(invalid="ignore"):
            return np.asarray(unpack(theta)[0] + self._gaps(x, theta)[0])

    def jacobian(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.jacobian`: implicit differentiation of log(y - e_inf) - alpha log(e_0 - y) = log beta + c log x."""
        _, _, alpha, beta, _ = unpack(theta)
        with np.errstate(invalid="ignore", divide="ignore"):
            above, below = self._gaps(x, theta)
            total = below + alpha * above
            # Cut off at e_0 (alpha = 0, the power law beyond it) nothing but e_0 matters.
            share = below / np.where(total == 0, 1.0, total)
            slope = above * share
            return stack(
                share,
                1.0 - share,
                slope * np.log(np.maximum(below, 1e-300)),
                slope / beta,
                slope * np.log(x[..., 0]),
            )


LAW = M4()
