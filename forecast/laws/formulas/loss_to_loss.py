"""Loss on one distribution from loss on another, for models trained alike."""

from __future__ import annotations

import numpy as np

from forecast.laws.law import FloatArray, Input, Law, Parameter, Role, constants, stack, unpack
from forecast.laws.quantities import LOSSES

_KAPPA = (0.3, 0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 3.0)


class LossToLoss(Law):
    """L_i = K (L_k - E_k)^kappa + E_i."""

    name = "loss-to-loss"
    title = "Loss to loss: a shifted power law"
    formula = "L_i = K * (L_k - E_k)^kappa + E_i"
    reference = "Brandfonbrener 2024 (arXiv:2411.12925), eq. 4"
    inputs = (Input(name="loss", unit="loss L_k on the other distribution, nats per token", typical=(2.2, 4.5)),)
    output = "loss L_i, nats per token"
    outputs = LOSSES
    parameters = (
        Parameter(name="K", meaning="amplitude", lower=0.0, log=True, role=Role.AMPLITUDE),
        Parameter(name="E_k", meaning="irreducible loss of the other distribution", lower=0.0, role=Role.SHAPE),
        Parameter(name="kappa", meaning="exponent", lower=1e-3, upper=20.0, log=True, role=Role.EXPONENT),
        Parameter(name="E_i", meaning="irreducible loss of this distribution", lower=0.0, role=Role.IRREDUCIBLE),
    )
    linear = ("K", "E_i")
    typical = constants(K=0.9, E_k=1.7, kappa=1.15, E_i=1.4)

    def starts(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """E_k over what lies below the smallest L_k, kappa from a grid; K and E_i are then linear."""
        low = float(np.min(x))
        return np.array([(1.0, share * low, kappa, 1.0) for share in (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.97) for kappa in _KAPPA])

    def predict(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.predict`; NaN where L_k is below E_k."""
        k, e_k, kappa, e_i = unpack(theta)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(e_i + np.exp(np.log(k) + kappa * np.log(x[..., 0] - e_k)))

    def jacobian(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.jacobian`."""
        k, e_k, kappa, _ = unpack(theta)
        with np.errstate(invalid="ignore", divide="ignore"):
            gap = x[..., 0] - e_k
            part = np.exp(np.log(k) + kappa * np.log(gap))
            return stack(part / k, -kappa * part / gap, part * np.log(gap), np.ones_like(part))


LAW = LossToLoss()
