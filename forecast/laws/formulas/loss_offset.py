"""Kaplan: loss on another distribution is the training loss plus a constant."""

from __future__ import annotations

import numpy as np

from forecast.laws.law import FloatArray, Input, Law, Parameter, constants, stack, unpack
from forecast.laws.quantities import LOSSES


class LossOffset(Law):
    """L_i = L_k + offset."""

    name = "loss-offset"
    title = "Loss to loss: a constant offset"
    formula = "L_i = L_k + offset"
    reference = "Kaplan 2020 (arXiv:2001.08361), section 3.2.2 and figure 8"
    inputs = (Input(name="loss", unit="loss L_k on the other distribution, nats per token", typical=(2.2, 4.5)),)
    output = "loss L_i, nats per token"
    outputs = LOSSES
    parameters = (Parameter(name="offset", meaning="difference of the losses, nats per token"),)
    linear = ("offset",)
    typical = constants(offset=0.4)

    def predict(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.predict`."""
        return np.asarray(x[..., 0] + theta)

    def jacobian(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.jacobian`."""
        (offset,) = unpack(theta)
        return stack(np.ones_like(offset + x[..., 0]))


LAW = LossOffset()
