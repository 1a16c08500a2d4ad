"""Alabdulmohsin 2022's M2."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from forecast.laws.law import FloatArray, Input, Parameter, Role, constants
from forecast.laws.quantities import ERRORS, LOSSES
from forecast.laws.shapes import EXPONENTS, OffsetPowerShape


class M2(OffsetPowerShape):
    """y = a x^c + e, c negative."""

    name = "m2"
    title = "Alabdulmohsin M2: power law with limit"
    formula = "y = a * x^c + e"
    reference = "Alabdulmohsin 2022 (arXiv:2209.06640), table 1"
    inputs = (Input(name="examples", unit="training examples seen", typical=(1e5, 1e9), accepts=("tokens",)),)
    output = "error or loss"
    outputs = (*LOSSES, *ERRORS)
    parameters = (
        Parameter(name="a", meaning="reducible part at x = 1", lower=0.0, log=True, role=Role.AMPLITUDE),
        Parameter(
            name="c",
            meaning="exponent, negative",
            lower=-10.0,
            upper=-1e-4,
            role=Role.EXPONENT,
            grid=tuple(-v for v in EXPONENTS),
        ),
        Parameter(name="e", meaning="limit with infinite data", lower=0.0, role=Role.IRREDUCIBLE),
    )
    typical = constants(a=30.0, c=-0.35, e=0.1)
    sign = 1.0
    linear = ("a", "e")

    def domain(self, x: FloatArray, y: FloatArray) -> Mapping[str, tuple[float, float]]:
        """The limit lies below the measurements: y - e is a power law."""
        return {"e": (0.0, float(np.min(y)))}


LAW = M2()
