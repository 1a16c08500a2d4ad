"""Alabdulmohsin 2022's M3: a power law that saturates."""

from __future__ import annotations

import numpy as np

from forecast.laws.law import FloatArray, Input, Law, Parameter, Role, Space, constants, stack, unpack
from forecast.laws.quantities import ERRORS, LOSSES

_EXPONENTS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 1.5)


class M3(Law):
    """y = a (1 / x + d)^c + e."""

    name = "m3"
    title = "Alabdulmohsin M3: saturating power law"
    formula = "y = a * (1 / x + d)^c + e"
    reference = "Alabdulmohsin 2022 (arXiv:2209.06640), table 1 (e = 0 there)"
    inputs = (Input(name="examples", unit="training examples seen", typical=(1e5, 1e9), accepts=("tokens",)),)
    output = "error or loss"
    outputs = (*LOSSES, *ERRORS)
    parameters = (
        Parameter(name="a", meaning="amplitude", lower=0.0, log=True, role=Role.AMPLITUDE),
        Parameter(name="c", meaning="exponent", lower=1e-4, upper=10.0, log=True, role=Role.EXPONENT),
        Parameter(name="d", meaning="1 / examples at which the curve saturates", lower=0.0),
        Parameter(name="e", meaning="limit beyond saturation; 0 in the paper's benchmark", lower=0.0, role=Role.IRREDUCIBLE),
    )
    space = Space.LOG
    linear = ("a", "e")
    typical = constants(a=30.0, c=0.35, d=1e-8, e=0.1)

    def starts(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Saturation from far beyond the last measurement back to the first."""
        ends = np.concatenate([[0.0], np.geomspace(1e-3 / np.max(x), 1.0 / np.min(x), 24)])
        return np.array([(1.0, c, d, 0.0) for c in _EXPONENTS for d in ends])

    def predict(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.predict`."""
        a, c, d, e = unpack(theta)
        return np.asarray(e + np.exp(np.log(a) + c * np.log(1.0 / x[..., 0] + d)))

    def jacobian(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.jacobian`."""
        a, c, d, _ = unpack(theta)
        base = 1.0 / x[..., 0] + d
        part = np.exp(np.log(a) + c * np.log(base))
        return stack(part / a, part * np.log(base), part * c / base, np.ones_like(part))


LAW = M3()
