"""Kaplan: loss of parameters."""

from __future__ import annotations

from forecast.laws.law import Input, Parameter, PublishedFit, Role, constants
from forecast.laws.quantities import LOSSES
from forecast.laws.shapes import EXPONENTS, ScaleShape


class KaplanParams(ScaleShape):
    """L = (Nc / N)^aN."""

    name = "kaplan-params"
    title = "Kaplan: loss of parameters"
    formula = "L = (Nc / N)^aN"
    reference = "Kaplan 2020 (arXiv:2001.08361), eq. 1.1 to 1.3"
    inputs = (
        Input(
            name="params_non_embedding",
            unit="parameters N without embeddings",
            typical=(1e6, 1e9),
            accepts=("params",),
        ),
    )
    output = "loss, nats per token"
    outputs = LOSSES
    parameters = (
        Parameter(name="Nc", meaning="scale at which the loss is 1 nat", lower=0.0, log=True, role=Role.AMPLITUDE),
        Parameter(name="aN", meaning="exponent", lower=1e-4, upper=10.0, log=True, role=Role.EXPONENT, grid=EXPONENTS),
    )
    typical = constants(Nc=8.8e13, aN=0.076)
    published = (
        PublishedFit(
            source="Kaplan 2020, section 1.2",
            params={"Nc": 8.8e13, "aN": 0.076},
        ),
    )


LAW = KaplanParams()
