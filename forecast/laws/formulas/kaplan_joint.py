"""Kaplan: loss of parameters and tokens together."""

from __future__ import annotations

import numpy as np

from forecast.laws.law import FloatArray, Input, Law, Parameter, PublishedFit, Role, Space, constants, stack, unpack
from forecast.laws.quantities import LOSSES

_EXPONENTS = (0.02, 0.04, 0.06, 0.08, 0.11, 0.15, 0.2, 0.3, 0.45, 0.7)


class KaplanJoint(Law):
    """L = [(Nc / N)^(aN / aD) + Dc / D]^aD."""

    name = "kaplan-joint"
    title = "Kaplan: loss of parameters and tokens"
    formula = "L = [(Nc / N)^(aN / aD) + Dc / D]^aD"
    reference = "Kaplan 2020 (arXiv:2001.08361), eq. 1.5 and table 2"
    inputs = (
        Input(name="params_non_embedding", unit="parameters N without embeddings", typical=(1e6, 1e9), accepts=("params",)),
        Input(name="tokens", unit="training tokens D", typical=(2e7, 2e10)),
    )
    output = "loss, nats per token"
    outputs = LOSSES
    parameters = (
        Parameter(
            name="Nc", meaning="N at which the loss is 1 nat, D being unlimited", lower=0.0, log=True, role=Role.AMPLITUDE
        ),
        Parameter(
            name="Dc", meaning="D at which the loss is 1 nat, N being unlimited", lower=0.0, log=True, role=Role.AMPLITUDE
        ),
        Parameter(name="aN", meaning="exponent of N", lower=1e-4, upper=10.0, log=True, role=Role.EXPONENT),
        Parameter(name="aD", meaning="exponent of D", lower=1e-4, upper=10.0, log=True, role=Role.EXPONENT),
    )
    space = Space.LOG
    typical = constants(Nc=6.4e13, Dc=1.8e13, aN=0.076, aD=0.103)
    published = (PublishedFit(source="Kaplan 2020, table 2", params={"Nc": 6.4e13, "Dc": 1.8e13, "aN": 0.076, "aD": 0.103}),)

    def starts(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """For each pair of exponents: for both scales, those at which either term alone would be from all to a tenth of it."""
        log_n, log_d, log_y = float(np.mean(np.log(x[..., 0]))), float(np.mean(np.log(x[..., 1]))), float(np.mean(np.log(y)))
        rows = [
            (
                np.exp(min(log_n + (log_y / ad + np.log(share)) * ad / an, 600.0)),
                np.exp(min(log_d + log_y / ad + np.log(1 - share), 600.0)),
                an,
                ad,
            )
            for an in _EXPONENTS
            for ad in _EXPONENTS
            for share in (0.1, 0.3, 0.5, 0.7, 0.9)
        ]
        return np.array(rows)

    def _logs(self, x: FloatArray, theta: FloatArray) -> tuple[FloatArray, ...]:
        nc, dc, an, ad = unpack(theta)
        of_n = an / ad * (np.log(nc) - np.log(x[..., 0]))
        of_d = np.log(dc) - np.log(x[..., 1])
        total = np.logaddexp(of_n, of_d)
        return of_n, of_d, total

    def predict(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.predict`."""
        return np.asarray(np.exp(unpack(theta)[3] * self._logs(x, theta)[2]))

    def jacobian(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """See `Law.jacobian`."""
        nc, dc, an, ad = unpack(theta)
        of_n, of_d, total = self._logs(x, theta)
        y = np.exp(ad * total)
        share_n, share_d = np.exp(of_n - total), np.exp(of_d - total)
        log_ratio = of_n * ad / an
        return stack(
            y * share_n * an / nc,
            y * share_d * ad / dc,
            y * share_n * log_ratio,
            y * (total - share_n * of_n),
        )


LAW = KaplanJoint()
