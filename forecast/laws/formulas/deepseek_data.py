"""DeepSeek's optimal data scale."""

from __future__ import annotations

from forecast.laws.law import Input, Parameter, PublishedFit, Role, constants
from forecast.laws.shapes import SIGNED_EXPONENTS, PowerShape


class DeepseekData(PowerShape):
    """D_opt = a C^b."""

    name = "deepseek-data"
    title = "DeepSeek optimal tokens"
    formula = "D = a * C^b"
    reference = "DeepSeek LLM (arXiv:2401.02954), section 3.2, eq. 4"
    inputs = (Input(name="flops", unit="training FLOPs C = M D", typical=(1e17, 3e20)),)
    output = "training tokens"
    outputs = ("tokens",)
    flops_convention = "deepseek-md"
    parameters = (
        Parameter(name="a", meaning="value at C = 1", lower=0.0, log=True, role=Role.AMPLITUDE),
        Parameter(name="b", meaning="exponent", lower=-5.0, upper=5.0, role=Role.EXPONENT, grid=SIGNED_EXPONENTS),
    )
    typical = constants(a=5.8316, b=0.4757)
    sign = 1.0
    published = (
        PublishedFit(
            source="DeepSeek LLM, eq. 4",
            params={"a": 5.8316, "b": 0.4757},
        ),
    )
    linear = ("a",)


LAW = DeepseekData()
