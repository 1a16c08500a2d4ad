"""Excess risk of an empirical risk minimiser; well-specified models have exponent 1, logistic regression d / (2 n)."""

from __future__ import annotations

from forecast.laws.law import Input, Parameter, Role, constants
from forecast.laws.shapes import SIGNED_EXPONENTS, PowerShape


class ErmRisk(PowerShape):
    """excess = c n^-k."""

    name = "erm-risk"
    title = "Excess log-loss of an ERM"
    formula = "excess = c / n^k"
    reference = "van der Vaart, Asymptotic Statistics, ch. 5: n x excess -> d/2 (Wilks) for well-specified log-loss"
    inputs = (Input(name="examples", unit="training examples n", typical=(1e2, 1e5), accepts=("tokens",)),)
    output = "excess risk, nats"
    outputs = ("excess_risk",)
    parameters = (
        Parameter(name="c", meaning="excess at n = 1: half the number of parameters", lower=0.0, log=True, role=Role.AMPLITUDE),
        Parameter(name="k", meaning="exponent, 1 in theory", lower=-5.0, upper=5.0, role=Role.EXPONENT, grid=SIGNED_EXPONENTS),
    )
    typical = constants(c=2.5, k=1.0)
    linear = ("c",)


LAW = ErmRisk()
