"""DeepSeek's learning-rate law."""

from __future__ import annotations

from forecast.laws.law import Input, Parameter, PublishedFit, Role, constants
from forecast.laws.shapes import SIGNED_EXPONENTS, PowerShape


class DeepseekLr(PowerShape):
    """eta_opt = a C^-b."""

    name = "deepseek-lr"
    title = "DeepSeek optimal peak learning rate"
    formula = "lr = a * C^(-b)"
    reference = "DeepSeek LLM (arXiv:2401.02954), section 3.1, eq. 1"
    inputs = (
        Input(name="flops", unit="training FLOPs C = M D, M = 72 n_layer d^2 + 12 n_layer d n_ctx", typical=(1e17, 2e19)),
    )
    output = "peak learning rate"
    outputs = ("learning_rate",)
    flops_convention = "deepseek-md"
    parameters = (
        Parameter(name="a", meaning="value at C = 1", lower=0.0, log=True, role=Role.AMPLITUDE),
        Parameter(name="b", meaning="exponent", lower=-5.0, upper=5.0, role=Role.EXPONENT, grid=SIGNED_EXPONENTS),
    )
    typical = constants(a=0.3118, b=0.1250)
    published = (
        PublishedFit(
            source="DeepSeek LLM, eq. 1",
            params={"a": 0.3118, "b": 0.1250},
        ),
    )
    linear = ("a",)


LAW = DeepseekLr()
