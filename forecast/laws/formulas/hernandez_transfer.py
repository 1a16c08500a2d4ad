"""Hernandez 2021: how much fine-tuning data pre-training is worth."""

from __future__ import annotations

import numpy as np

from forecast.laws.law import FloatArray, Input, Law, Parameter, PublishedFit, Role, Space, constants, stack, unpack

_EXPONENTS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0)


class HernandezTransfer(Law):
    """D_T = k D_F^alpha N^beta, a plane in logarithms."""

    name = "hernandez-transfer"
    title = "Hernandez: effective data transferred"
    formula = "D_T = k * D_F^alpha * N^beta"
    reference = "Hernandez 2021 (arXiv:2102.01293), eq. 1.1"
    inputs = (
        Input(name="tokens_finetune", unit="fine-tuning characters or tokens D_F", typical=(1e5, 1e10)),
        Input(name="params_non_embedding", unit="parameters N without embeddings", typical=(1e6, 1e9), accepts=("params",)),
    )
    output = "effective data transferred D_T, in the unit of D_F"
    outputs = ("tokens_transferred",)
    parameters = (
        Parameter(name="k", meaning="amplitude", lower=0.0, log=True, role=Role.AMPLITUDE),
        Parameter(name="alpha", meaning="exponent of D_F", lower=-5.0, upper=5.0, role=Role.EXPONENT, grid=_EXPONENTS),
        Parameter(name="beta", meaning="exponent of N", lower=-5.0, upper=5.0, role=Role.EXPONENT, grid=_EXPONENTS),
    )
    space = Space.LOG
    linear = ("k",)
    typical = constants(k=1.9e4, alpha=0.18, beta=0.38)
    published = (
        PublishedFit(
            source="Hernandez 2021, section 1 (text to Python)",
            params={"k": 1.9e4, "alpha": 0.18, "beta": 0.38},
            note="quoted at second hand, not checked against the paper's text",
        ),
    )

    def predict(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.predict`."""
        k, alpha, beta = unpack(theta)
        return np.asarray(np.exp(np.log(k) + alpha * np.log(x[..., 0]) + beta * np.log(x[..., 1])))

    def jacobian(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.jacobian`."""
        y = self.predict(x, theta)
        return stack(y / unpack(theta)[0], y * np.log(x[..., 0]), y * np.log(x[..., 1]))


LAW = HernandezTransfer()
