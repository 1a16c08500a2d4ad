"""Pure power law of one scale."""

from __future__ import annotations

from forecast.laws.law import Input, Parameter, Role, constants
from forecast.laws.quantities import ALL
from forecast.laws.shapes import SIGNED_EXPONENTS, PowerShape


class PowerLaw(PowerShape):
    """y = A x^-alpha."""

    name = "power-law"
    title = "Power law without irreducible term"
    formula = "y = A * x^(-alpha)"
    reference = "Hestness 2017 (arXiv:1712.00409), eq. 1"
    inputs = (Input(name="x", unit="any scale: FLOPs, parameters, tokens", typical=(1e17, 1e22), accepts=("flops",)),)
    output = "loss or error"
    outputs = ALL
    parameters = (
        Parameter(name="A", meaning="value at x = 1", lower=0.0, log=True, role=Role.AMPLITUDE),
        Parameter(name="alpha", meaning="exponent", lower=-5.0, upper=5.0, role=Role.EXPONENT, grid=SIGNED_EXPONENTS),
    )
    typical = constants(A=60.0, alpha=0.06)
    linear = ("A",)


LAW = PowerLaw()
