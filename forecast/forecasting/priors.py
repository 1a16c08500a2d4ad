"""Beliefs about laws before any run is seen: one normal prior for each role that a parameter plays.

A law states by `Role` what each of its parameters does, so a law with the usual roles can be used in forecasts unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from forecast.core.observations import FloatArray
from forecast.laws import Law, Role
from forecast.laws.priors import Affine, Log, Logit, Prior

LOG_EXPONENT_IN_COMPUTE = (np.log(0.15), 0.4)
"""Mean and sd of log alpha: with exponents .35 and .37 in N and D (Besiroglu 2024, arXiv:2404.10102) the best exponent in C is
alpha beta / (alpha + beta) = .18; Kaplan 2020 (arXiv:2001.08361) without irreducible loss has .05."""
LOG_EXPONENT_IN_SIZE = (np.log(0.3), 0.3)
"""The same for N and D: Hoffmann 2022 .34 and .28, Besiroglu 2024 .35 and .37."""
IRREDUCIBLE_LOGIT = (0.0, 1.0)
"""Mean and sd of logit(E / smallest value seen): about half of what is left, loosely."""
LOG_AMPLITUDE = (-0.5, 3.0)
"""Log of a law's reducible part at the largest run over the smallest value seen, less .5 for each term that shares it."""
FLOOR_SD = 0.03
"""How far a benchmark's floor lies from the chance of guessing: small models fall below it on some."""
CEILING_LOGIT = (2.6, 1.0)
"""Mean and sd of the ceiling's logit (0.93; 0.83 to 0.97): benchmarks hold wrong labels and ambiguous items, and low
accuracies cannot tell."""
LOG_HAZARD_IN_COMPUTE = (1.0, 2.0)
"""Mean and sd of log h at the largest run: between nothing and nearly all of the way to the ceiling. The mean is above 0
because of all laws that agree with accuracies at chance, the likeliest would otherwise be the one that leaves chance next."""
LOG_HAZARD_IN_SIZE = (0.3, 2.0)
"""The same for each of the two terms in N and D."""
LINK_CEILING = (1.0, 0.05)
"""Mean and sd of the sigmoid's ceiling: accuracies far below it cannot tell, so the prior does."""
LINK_MIDDLE = (-2.0, 4.0)
"""Standard deviation of the sigmoid's middle, in standard deviations of the smooth metric from its mean."""
LINK_LOG_SLOPE = (0.0, 1.0)
"""Mean and standard deviation of the log of its steepness per standard deviation of the smooth metric."""

RELATIVE_NOISE = 0.01
"""Residual scatter of log NLL between runs that a fit starts from."""
ACCURACY_NOISE = 0.01
"""Residual scatter of accuracy between runs that a fit starts from."""


def loss_priors(law: Law, smallest: FloatArray) -> dict[str, Prior]:
    """Priors of a law of a loss-like metric, its inputs in units of the largest run.

    Args:
        law: amplitudes, exponents and irreducible terms, as its roles say.
        smallest: (B,) smallest value seen, in the metric's unit.
    """
    terms = sum(parameter.role is Role.AMPLITUDE for parameter in law.parameters)
    log_amplitude = (LOG_AMPLITUDE[0] * (1 + terms), LOG_AMPLITUDE[1])
    by_role = {
        Role.AMPLITUDE: _prior(log_amplitude, Log(smallest)),
        Role.EXPONENT: _prior(_log_exponent(law), Log()),
        Role.IRREDUCIBLE: _prior(IRREDUCIBLE_LOGIT, Logit(smallest)),
    }
    return _by_role(law, by_role)


def accuracy_priors(law: Law, floor: float) -> dict[str, Prior]:
    """Priors of a law from scale to accuracy, its inputs in units of the largest run; `floor` is the accuracy of guessing."""
    by_role = {
        Role.FLOOR: Prior(mean=floor, sd=FLOOR_SD),
        Role.CEILING: _prior(CEILING_LOGIT, Logit()),
        Role.AMPLITUDE: _prior(LOG_HAZARD_IN_COMPUTE if _in_compute(law) else LOG_HAZARD_IN_SIZE, Log()),
        Role.EXPONENT: _prior(_log_exponent(law), Log()),
    }
    return _by_role(law, by_role)


def link_priors(law: Law, x: FloatArray, floor: float) -> dict[str, Prior]:
    """Priors of a sigmoid from a smooth metric, measured at x (M,), to accuracy."""
    center, spread = float(np.mean(x)), max(float(np.std(x)), 1e-6)
    by_role = {
        Role.FLOOR: Prior(mean=floor, sd=FLOOR_SD),
        Role.CEILING: _prior(LINK_CEILING, Affine()),
        Role.STEEPNESS: _prior(LINK_LOG_SLOPE, Log(1.0 / spread)),
        Role.MIDDLE: _prior(LINK_MIDDLE, Affine(center, spread)),
    }
    return _by_role(law, by_role)


def _by_role(law: Law, priors: Mapping[Role, Prior]) -> dict[str, Prior]:
    # A parameter without a prior is named where the law is fitted.
    return {parameter.name: priors[parameter.role] for parameter in law.parameters if parameter.role in priors}


def _prior(moments: tuple[float, float], transform: Affine | Log | Logit) -> Prior:
    return Prior(mean=float(moments[0]), sd=moments[1], transform=transform)


def _in_compute(law: Law) -> bool:
    return len(law.inputs) == 1


def _log_exponent(law: Law) -> tuple[float, float]:
    return LOG_EXPONENT_IN_COMPUTE if _in_compute(law) else LOG_EXPONENT_IN_SIZE
