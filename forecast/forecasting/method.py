"""What every forecasting method offers; adding a method means adding one file to `methods/`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from forecast.core.observations import FloatArray
from forecast.forecasting.sample import Points, Sample


class Fitted(Protocol):
    """A method fitted to each of B replicates."""

    @property
    def nll_metric(self) -> str | None:
        """The smooth metric between compute and accuracy; None for methods without that step."""

    def accuracy(self, points: Points) -> FloatArray:
        """(B, K) accuracies."""

    def nll(self, points: Points) -> FloatArray | None:
        """(B, K) values of `nll_metric`, or None."""

    def accuracy_of_nll(self, nll: FloatArray) -> FloatArray | None:
        """(B, K) accuracies at K values of `nll_metric`, or None."""


class Method(Protocol):
    """One way to forecast."""

    @property
    def name(self) -> str:
        """What the user calls it."""

    @property
    def summary(self) -> str:
        """One-line description for the user."""

    def missing(self, sample: Sample) -> str | None:
        """Say in a sentence what the sample lacks for this method, or None when it can be fitted."""

    def fit(self, sample: Sample) -> Fitted:
        """Fit every replicate."""


@dataclass(frozen=True, kw_only=True)
class AccuracyOnly:
    """Base of fitted methods without an NLL step."""

    nll_metric: str | None = None

    def nll(self, points: Points) -> FloatArray | None:
        """Return None: there is no such step."""
        return None

    def accuracy_of_nll(self, nll: FloatArray) -> FloatArray | None:
        """Return None: there is no such step."""
        return None
