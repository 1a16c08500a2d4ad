"""Power law of one scale with an irreducible term."""

from __future__ import annotations

from forecast.laws.law import Input, Parameter, Role, constants
from forecast.laws.quantities import ALL
from forecast.laws.shapes import EXPONENTS, OffsetPowerShape


class PowerLawOffset(OffsetPowerShape):
    """y = A x^-alpha + E."""

    name = "power-law-offset"
    title = "Power law with irreducible term"
    formula = "y = A * x^(-alpha) + E"
    reference = "Henighan 2020 (arXiv:2010.14701), eq. 1.1"
    inputs = (Input(name="x", unit="any scale: FLOPs, parameters, tokens", typical=(1e17, 1e22), accepts=("flops",)),)
    output = "loss or error"
    outputs = ALL
    parameters = (
        Parameter(name="A", meaning="reducible part at x = 1", lower=0.0, log=True, role=Role.AMPLITUDE),
        Parameter(name="alpha", meaning="exponent", lower=1e-4, upper=10.0, log=True, role=Role.EXPONENT, grid=EXPONENTS),
        Parameter(name="E", meaning="irreducible part", lower=0.0, role=Role.IRREDUCIBLE),
    )
    typical = constants(A=2000.0, alpha=0.17, E=1.5)
    linear = ("A", "E")


LAW = PowerLawOffset()
