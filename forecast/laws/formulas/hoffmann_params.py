"""Hoffmann's compute-optimal number of parameters, approaches 1 and 2."""

from __future__ import annotations

from forecast.laws.law import Input, Parameter, Role, constants
from forecast.laws.shapes import SIGNED_EXPONENTS, PowerShape


class HoffmannParams(PowerShape):
    """N_opt = G C^a."""

    name = "hoffmann-params"
    title = "Hoffmann compute-optimal parameters"
    formula = "N = G * C^a"
    reference = "Hoffmann 2022 (arXiv:2203.15556), table 2: a = 0.50 (approach 1), 0.49 (approach 2)"
    inputs = (Input(name="flops", unit="training FLOPs C, of one convention", typical=(1e17, 1e22)),)
    output = "parameters"
    outputs = ("params", "params_non_embedding")
    parameters = (
        Parameter(name="G", meaning="value at C = 1", lower=0.0, log=True, role=Role.AMPLITUDE),
        Parameter(name="a", meaning="exponent", lower=-5.0, upper=5.0, role=Role.EXPONENT, grid=SIGNED_EXPONENTS),
    )
    typical = constants(G=0.1, a=0.50)
    sign = 1.0
    linear = ("G",)


LAW = HoffmannParams()
