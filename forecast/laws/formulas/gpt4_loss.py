"""GPT-4's loss law: final loss of training compute, fitted on runs up to 1e-4 of the target's."""

from __future__ import annotations

from forecast.laws.law import Input, Parameter, Role, constants
from forecast.laws.quantities import LOSSES
from forecast.laws.shapes import EXPONENTS, OffsetPowerShape


class Gpt4Loss(OffsetPowerShape):
    """L = a C^b + c, b negative."""

    name = "gpt4-loss"
    title = "GPT-4 loss of compute"
    formula = "L = a * C^b + c"
    reference = "GPT-4 Technical Report (arXiv:2303.08774), section 3.1"
    inputs = (Input(name="flops", unit="training FLOPs C, of one convention", typical=(1e17, 1e22)),)
    output = "loss, in any unit of one kind (the report: bits per word)"
    outputs = LOSSES
    parameters = (
        Parameter(name="a", meaning="reducible part at C = 1", lower=0.0, log=True, role=Role.AMPLITUDE),
        Parameter(
            name="b",
            meaning="exponent, negative",
            lower=-10.0,
            upper=-1e-4,
            role=Role.EXPONENT,
            grid=tuple(-v for v in EXPONENTS),
        ),
        Parameter(name="c", meaning="irreducible loss", lower=0.0, role=Role.IRREDUCIBLE),
    )
    typical = constants(a=2000.0, b=-0.17, c=1.5)
    sign = 1.0
    linear = ("a", "c")


LAW = Gpt4Loss()
