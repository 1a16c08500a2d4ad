"""Alabdulmohsin 2022's M1."""

from __future__ import annotations

from forecast.laws.law import Input, Parameter, Role, constants
from forecast.laws.quantities import ERRORS, LOSSES
from forecast.laws.shapes import SIGNED_EXPONENTS, PowerShape


class M1(PowerShape):
    """y = a x^c, c negative."""

    name = "m1"
    title = "Alabdulmohsin M1: power law"
    formula = "y = a * x^c"
    reference = "Alabdulmohsin 2022 (arXiv:2209.06640), table 1"
    inputs = (Input(name="examples", unit="training examples seen", typical=(1e5, 1e9), accepts=("tokens",)),)
    output = "error or loss"
    outputs = (*LOSSES, *ERRORS)
    parameters = (
        Parameter(name="a", meaning="value at x = 1", lower=0.0, log=True, role=Role.AMPLITUDE),
        Parameter(name="c", meaning="exponent", lower=-5.0, upper=5.0, role=Role.EXPONENT, grid=SIGNED_EXPONENTS),
    )
    typical = constants(a=30.0, c=-0.3)
    sign = 1.0
    linear = ("a",)


LAW = M1()
