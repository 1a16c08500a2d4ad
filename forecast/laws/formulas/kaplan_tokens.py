"""Kaplan: loss of tokens."""

from __future__ import annotations

from forecast.laws.law import Input, Parameter, PublishedFit, Role, constants
from forecast.laws.quantities import LOSSES
from forecast.laws.shapes import EXPONENTS, ScaleShape


class KaplanTokens(ScaleShape):
    """L = (Dc / D)^aD."""

    name = "kaplan-tokens"
    title = "Kaplan: loss of tokens"
    formula = "L = (Dc / D)^aD"
    reference = "Kaplan 2020 (arXiv:2001.08361), eq. 1.1 to 1.3"
    inputs = (Input(name="tokens", unit="training tokens D, early-stopped large models", typical=(2e7, 2e10)),)
    output = "loss, nats per token"
    outputs = LOSSES
    parameters = (
        Parameter(name="Dc", meaning="scale at which the loss is 1 nat", lower=0.0, log=True, role=Role.AMPLITUDE),
        Parameter(name="aD", meaning="exponent", lower=1e-4, upper=10.0, log=True, role=Role.EXPONENT, grid=EXPONENTS),
    )
    typical = constants(Dc=5.4e13, aD=0.095)
    published = (
        PublishedFit(
            source="Kaplan 2020, section 1.2",
            params={"Dc": 5.4e13, "aD": 0.095},
        ),
    )


LAW = KaplanTokens()
