"""Peak learning rate and batch size by DeepSeek's laws: as printed, or refitted on a sweep."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecast.laws.law import FloatArray, Law
from forecast.laws.losses import Huber
from forecast.laws.registry import get_law
from forecast.laws.solver import fit

_NEAR_OPTIMAL = 0.0025
"""DeepSeek (arXiv:2401.02954, section 3.1): hyperparameters within 0.25 % of the lowest loss count as optimal."""
_HUBER = 0.1
"""Near-optimal rates and batches scatter by tens of percent around the law."""
_FEWEST_BUDGETS = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Sweep:
    """Runs over learning rates and batches; NaN where a run does not state a number."""

    flops: FloatArray
    """(runs,) by the runs' own convention."""
    loss: FloatArray
    learning_rate: FloatArray
    batch_tokens: FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class HyperparameterLaws:
    """Constants of both laws, and where they come from."""

    rate_theta: FloatArray
    batch_theta: FloatArray
    source: str

    def learning_rate(self, flops: float) -> float:
        """Peak learning rate at training FLOPs, by the convention of the runs that the constants were found on."""
        return float(_rate_law().predict(np.array([[flops]]), self.rate_theta)[0])

    def batch_tokens(self, flops: float) -> float:
        """Tokens per optimiser step, as `learning_rate`."""
        return float(_batch_law().predict(np.array([[flops]]), self.batch_theta)[0])


def printed_hyperparameters() -> HyperparameterLaws:
    """Return DeepSeek's own constants; FLOPs are M D (arXiv:2401.02954, equations 1 and 2).

    >>> laws = printed_hyperparameters()
    >>> round(laws.learning_rate(1e17), 6), round(laws.batch_tokens(1e17))
    (0.002338, 106190)
    """
    return HyperparameterLaws(
        rate_theta=_printed_theta(_rate_law()),
        batch_theta=_printed_theta(_batch_law()),
        source="DeepSeek 2024 (printed constants)",
    )


def refitted_hyperparameters(sweep: Sweep) -> HyperparameterLaws | None:
    """Fit both laws to the near-optimal runs of each budget; None where fewer than three budgets have any."""
    whole = np.isfinite(sweep.loss) & (sweep.flops > 0) & (sweep.learning_rate > 0) & (sweep.batch_tokens > 0)
    budget = np.round(np.log(np.where(sweep.flops > 0, sweep.flops, np.nan)), 2)
    near = np.zeros(len(sweep.loss), dtype=np.bool_)
    for value in np.unique(budget[whole]):
        rows = np.flatnonzero(whole & (budget == value))
        near[rows] = sweep.loss[rows] <= (1 + _NEAR_OPTIMAL) * np.min(sweep.loss[rows])
    if len(np.unique(budget[near])) < _FEWEST_BUDGETS:
        return None
    c, loss = sweep.flops[near], Huber(_HUBER)
    return HyperparameterLaws(
        rate_theta=fit(_rate_law(), c, sweep.learning_rate[near], loss=loss).theta,
        batch_theta=fit(_batch_law(), c, sweep.batch_tokens[near], loss=loss).theta,
        source=f"refitted on runs within {100 * _NEAR_OPTIMAL:g} % of the lowest loss",
    )


def _rate_law() -> Law:
    return get_law("deepseek-lr")


def _batch_law() -> Law:
    return get_law("deepseek-batch")


def _printed_theta(law: Law) -> FloatArray:
    printed = law.printed
    assert printed is not None, f"{law.name} has printed constants"
    return law.vector(printed.params)
