"""GPT-4's capability law: mean negative log pass rate of a difficulty bucket."""

from __future__ import annotations

from forecast.laws.law import Input, Parameter, Role, constants
from forecast.laws.shapes import EXPONENTS, PowerShape


class Gpt4PassRate(PowerShape):
    """E[-log pass_rate] = alpha C^-k."""

    name = "gpt4-pass-rate"
    title = "GPT-4 mean log pass rate of compute"
    formula = "-E[log(pass_rate)] = alpha * C^(-k)"
    reference = "GPT-4 Technical Report (arXiv:2303.08774), section 3.2"
    inputs = (Input(name="flops", unit="training FLOPs C, of one convention", typical=(1e17, 1e22)),)
    output = "mean over problems of -log pass_rate, nats; every kept pass rate above 0"
    outputs = ("neg_log_pass_rate",)
    parameters = (
        Parameter(name="alpha", meaning="value at C = 1", lower=0.0, log=True, role=Role.AMPLITUDE),
        Parameter(name="k", meaning="exponent", lower=1e-4, upper=10.0, log=True, role=Role.EXPONENT, grid=EXPONENTS),
    )
    typical = constants(alpha=3000.0, k=0.18)
    linear = ("alpha",)


LAW = Gpt4PassRate()
