"""Kaplan: loss of optimally used compute."""

from __future__ import annotations

from forecast.laws.law import Input, Parameter, PublishedFit, Role, constants
from forecast.laws.quantities import LOSSES
from forecast.laws.shapes import EXPONENTS, ScaleShape


class KaplanCompute(ScaleShape):
    """L = (Cc / C)^aC."""

    name = "kaplan-compute"
    title = "Kaplan: loss of optimally used compute"
    formula = "L = (Cc / C)^aC"
    reference = "Kaplan 2020 (arXiv:2001.08361), eq. 1.1 to 1.3"
    inputs = (
        Input(name="flops", unit="training FLOPs 6 N D, N without embeddings, smallest over batch sizes", typical=(1e14, 1e20)),
    )
    output = "loss, nats per token"
    outputs = LOSSES
    parameters = (
        Parameter(name="Cc", meaning="scale at which the loss is 1 nat", lower=0.0, log=True, role=Role.AMPLITUDE),
        Parameter(name="aC", meaning="exponent", lower=1e-4, upper=10.0, log=True, role=Role.EXPONENT, grid=EXPONENTS),
    )
    typical = constants(Cc=2.68e28, aC=0.05)
    published = (
        PublishedFit(
            source="Kaplan 2020, section 1.2",
            params={"Cc": 2.68e28, "aC": 0.05},
            note="Cc was printed as 3.1e8 PF-days = 2.68e28 FLOPs",
        ),
    )


LAW = KaplanCompute()
