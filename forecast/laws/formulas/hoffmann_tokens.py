"""Hoffmann's compute-optimal number of tokens, approaches 1 and 2."""

from __future__ import annotations

from forecast.laws.law import Input, Parameter, Role, constants
from forecast.laws.shapes import SIGNED_EXPONENTS, PowerShape


class HoffmannTokens(PowerShape):
    """D_opt = G C^b."""

    name = "hoffmann-tokens"
    title = "Hoffmann compute-optimal tokens"
    formula = "D = G * C^b"
    reference = "Hoffmann 2022 (arXiv:2203.15556), table 2: b = 0.50 (approach 1), 0.51 (approach 2)"
    inputs = (Input(name="flops", unit="training FLOPs C, of one convention", typical=(1e17, 1e22)),)
    output = "training tokens"
    outputs = ("tokens",)
    parameters = (
        Parameter(name="G", meaning="value at C = 1", lower=0.0, log=True, role=Role.AMPLITUDE),
        Parameter(name="b", meaning="exponent", lower=-5.0, upper=5.0, role=Role.EXPONENT, grid=SIGNED_EXPONENTS),
    )
    typical = constants(G=1.6, b=0.50)
    sign = 1.0
    linear = ("G",)


LAW = HoffmannTokens()
