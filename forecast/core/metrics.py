"""The one table of metrics: what is measured of a checkpoint on a task, in which unit, range and direction.

Everything that needs to know a metric reads it here: what an import accepts, what a figure's axis says, which metric is
taken where nobody named one. The SQL that computes metrics lives in `db/views`; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from forecast.core.errors import UsageError

MAX_NATS = 100.0
"""No language model loses more per token, byte or character: guessing among 2^20 tokens costs 13.9 nats."""


class MetricKind(StrEnum):
    """What role a metric can play in a forecast."""

    ACCURACY = "accuracy"
    """A share of items answered correctly: what is forecast."""
    SMOOTH = "smooth"
    """A continuous measure of the gold answer on a benchmark: the step between compute and accuracy."""
    LOSS = "loss"
    """Loss on general text, not on a benchmark's answers."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric. Values lie in [low, high], in `unit`."""

    name: str
    kind: MetricKind
    unit: str
    low: float
    high: float
    falls: bool
    """Whether a better model has a smaller value."""
    label: str
    """What a figure's axis or a table's column says, without the unit."""

    @property
    def is_accuracy(self) -> bool:
        """Whether it is a share of items answered correctly."""
        return self.kind is MetricKind.ACCURACY

    @property
    def axis(self) -> str:
        """Label with its unit, for a figure; fractions are drawn in percent."""
        return f"{self.label} (%)" if self.unit == "fraction" else f"{self.label} ({self.unit})"


def _nats(name: str, unit: str, label: str, kind: MetricKind = MetricKind.SMOOTH) -> Metric:
    return Metric(name=name, kind=kind, unit=unit, low=0.0, high=MAX_NATS, falls=True, label=label)


def _fraction(name: str, label: str, kind: MetricKind = MetricKind.ACCURACY, *, falls: bool = False) -> Metric:
    return Metric(name=name, kind=kind, unit="fraction", low=0.0, high=1.0, falls=falls, label=label)


METRICS: tuple[Metric, ...] = (
    _nats("nll_per_char", "nats per character", "NLL of the correct answer"),
    _nats("nll_per_byte", "nats per byte", "NLL of the correct answer"),
    _nats("bits_per_byte", "bits per byte", "NLL of the correct answer"),
    _nats("nll_per_token", "nats per token", "NLL of the correct answer"),
    _nats("nll_choice_norm", "nats", "NLL of the correct answer among the choices"),
    _fraction("p_gold", "probability of the correct answer among the choices", MetricKind.SMOOTH),
    Metric(
        name="brier",
        kind=MetricKind.SMOOTH,
        unit="squared probability",
        low=0.0,
        high=2.0,
        falls=True,
        label="Brier score of the choices",
    ),
    _nats("loss", "nats per token", "loss on general text", MetricKind.LOSS),
    _fraction("acc", "accuracy"),
    _fraction("acc_norm", "length-normalised accuracy"),
    _fraction("acc_bytes", "byte-normalised accuracy"),
)
"""All metrics; within a kind, the first that was measured is taken where neither the user nor a task's card names one."""

BY_NAME: dict[str, Metric] = {metric.name: metric for metric in METRICS}
ACCURACY_METRICS: tuple[str, ...] = tuple(metric.name for metric in METRICS if metric.is_accuracy)
"""Fractions in [0, 1]."""
NLL_METRICS: tuple[str, ...] = tuple(metric.name for metric in METRICS if not metric.is_accuracy)
"""Smooth measures, general-text loss included. All fall with scale but `p_gold`, which rises."""

TEXT_METRICS: tuple[str, ...] = tuple(
    metric.name for metric in METRICS if metric.kind is MetricKind.SMOOTH and " per " in metric.unit
)
"""Metrics of the correct answer's own text, per character, byte or token, whatever the other choices are."""


def metric_named(name: str) -> Metric:
    """Return a metric by its name.

    Raises:
        UsageError: there is no such metric.

    >>> metric_named("acc_norm").axis
    'length-normalised accuracy (%)'
    """
    found = BY_NAME.get(name.lower().replace("-", "_"))
    if found is None:
        raise UsageError(f"there is no metric '{name}'", expected="one of " + ", ".join(BY_NAME))
    return found


def preferred(measured: Collection[str], kinds: Collection[MetricKind], *, card: str | None = None) -> str | None:
    """Return the metric to take of those that were measured: the card's, or else the first in the table's order.

    >>> preferred({"acc", "acc_norm"}, [MetricKind.ACCURACY], card="acc_norm")
    'acc_norm'
    >>> preferred({"acc", "acc_norm"}, [MetricKind.ACCURACY])
    'acc'
    """
    candidates = [metric.name for metric in METRICS if metric.kind in kinds and metric.name in measured]
    if card in candidates:
        return card
    return candidates[0] if candidates else None
