"""Llama 3's compute-optimal number of tokens, through the minima of isoFLOP parabolas."""

from __future__ import annotations

from forecast.laws.law import Input, Parameter, PublishedFit, Role, constants
from forecast.laws.shapes import SIGNED_EXPONENTS, PowerShape


class Llama3Tokens(PowerShape):
    """D_opt = A C^alpha."""

    name = "llama3-tokens"
    title = "Llama 3 compute-optimal tokens"
    formula = "D = A * C^alpha"
    reference = "Llama 3 (arXiv:2407.21783), section 3.2.1: printed as N*(C), N* denoting tokens"
    inputs = (Input(name="flops", unit="training FLOPs C, of one convention", typical=(1e17, 1e22)),)
    output = "training tokens"
    outputs = ("tokens",)
    parameters = (
        Parameter(name="A", meaning="value at C = 1", lower=0.0, log=True, role=Role.AMPLITUDE),
        Parameter(name="alpha", meaning="exponent", lower=-5.0, upper=5.0, role=Role.EXPONENT, grid=SIGNED_EXPONENTS),
    )
    typical = constants(A=0.299, alpha=0.537)
    sign = 1.0
    published = (
        PublishedFit(source="Llama 3, section 3.2.1, printed", params={"A": 0.29, "alpha": 0.53}),
        PublishedFit(
            source="Llama 3, figure 3",
            params={"A": 0.299, "alpha": 0.537},
            note="with these, 3.8e25 FLOPs give 16.3 T tokens; the text says 16.55 T",
        ),
    )
    linear = ("A",)


LAW = Llama3Tokens()
