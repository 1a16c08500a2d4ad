"""DeepSeek's optimal model scale, non-embedding FLOPs per token."""

from __future__ import annotations

from forecast.laws.law import Input, Parameter, PublishedFit, Role, constants
from forecast.laws.shapes import SIGNED_EXPONENTS, PowerShape


class DeepseekModel(PowerShape):
    """M_opt = a C^b."""

    name = "deepseek-model"
    title = "DeepSeek optimal model scale"
    formula = "M = a * C^b"
    reference = "DeepSeek LLM (arXiv:2401.02954), section 3.2, eq. 4"
    inputs = (Input(name="flops", unit="training FLOPs C = M D", typical=(1e17, 3e20)),)
    output = "non-embedding FLOPs per token"
    outputs = ("flops_per_token",)
    flops_convention = "deepseek-md"
    parameters = (
        Parameter(name="a", meaning="value at C = 1", lower=0.0, log=True, role=Role.AMPLITUDE),
        Parameter(name="b", meaning="exponent", lower=-5.0, upper=5.0, role=Role.EXPONENT, grid=SIGNED_EXPONENTS),
    )
    typical = constants(a=0.1715, b=0.5243)
    sign = 1.0
    published = (
        PublishedFit(
            source="DeepSeek LLM, eq. 4",
            params={"a": 0.1715, "b": 0.5243},
        ),
    )
    linear = ("a",)


LAW = DeepseekModel()
