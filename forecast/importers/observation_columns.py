"""The columns of an observation table: what each may hold, in which unit, and how a wrong unit is recognised."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from forecast.core.metrics import METRICS
from forecast.core.observations import FloatArray
from forecast.core.units import FlopsConvention

_BLANK = frozenset({"", "na", "n/a", "nan", "null", "none", "-"})
_TRUE = frozenset({"true", "t", "yes", "y", "1", "1.0"})
_FALSE = frozenset({"false", "f", "no", "n", "0", "0.0"})


@dataclass(frozen=True, kw_only=True)
class NumberColumn:
    """A number's range and unit; `whole` numbers may be written 1000 or 1000.0."""

    unit: str
    lowest: float = 0.0
    highest: float = math.inf
    least_positive: float = 0.0
    """Smallest plausible value above zero: a smaller one, such as 7 for seven billion parameters, is in another unit."""
    whole: bool = False

    def parse(self, text: str) -> float | None:
        """Return the number in `text`, None for a blank.

        Raises:
            ValueError: no finite number, or out of range; the message says what was expected.
        """
        if text.strip().lower() in _BLANK:
            return None
        try:
            # Python reads 1_000 as a number; a table that says so is rather damaged.
            value = float(text.replace("_", "?"))
        except ValueError:
            raise ValueError(f"{self._range()}, or a blank") from None
        if math.isnan(value):
            return None
        self.check(value)
        return value + 0.0  # -0 is 0

    def check(self, value: float) -> None:
        """Raise ValueError, saying what was expected, where a number cannot be in this column's unit."""
        in_range = (
            math.isfinite(value) and self.lowest <= value <= self.highest and (value == 0.0 or value >= self.least_positive)
        )
        if not in_range or (self.whole and value != int(value)):
            raise ValueError(self._range())

    def accepts(self, values: FloatArray) -> bool:
        """Tell whether `check` passes for every value; NaN means a blank."""
        known = values[~np.isnan(values)]
        right = np.isfinite(known) & (known >= self.lowest) & (known <= self.highest)
        right &= (known == 0.0) | (known >= self.least_positive)
        if self.whole:
            right &= known == np.trunc(known)
        return bool(right.all())

    def _range(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        lowest = self.least_positive or self.lowest
        zero = "0 or " if self.least_positive and self.lowest == 0.0 else ""
        top = "" if math.isinf(self.highest) else f" and at most {self.highest:g}"
        return f"{kind} in {self.unit}, {zero}at least {lowest:g}{top}"


_FRACTION = NumberColumn(unit="fractions (0.63, not 63)", highest=1.0)

METRIC_COLUMNS: dict[str, NumberColumn] = {
    metric.name: (
        _FRACTION if metric.unit == "fraction" else NumberColumn(unit=metric.unit, lowest=metric.low, highest=metric.high)
    )
    for metric in METRICS
}

SEM_COLUMNS: dict[str, NumberColumn] = {
    f"{name}_sem": NumberColumn(unit=f"the unit of {name}", highest=column.highest) for name, column in METRIC_COLUMNS.items()
}

_MOST_COUNTED = 1e15
"""Doubles count exactly so far, and nothing here is counted further."""

NUMBER_COLUMNS: dict[str, NumberColumn] = {
    "step": NumberColumn(unit="optimiser steps", highest=_MOST_COUNTED, whole=True),
    "params": NumberColumn(unit="parameters (7e9, not 7)", lowest=1.0, least_positive=1e3),
    "params_non_embedding": NumberColumn(unit="parameters (7e9, not 7)", lowest=1.0, least_positive=1e3),
    "tokens": NumberColumn(unit="tokens (3e11, not 300)"),
    "flops": NumberColumn(unit="FLOPs (3.8e25, neither 25.6 nor 380)", least_positive=1e6),
    "num_fewshot": NumberColumn(unit="examples", highest=1e6, whole=True),
    "n_items": NumberColumn(unit="items", lowest=1.0, highest=_MOST_COUNTED, whole=True),
    "chance": _FRACTION,
    "lr_fraction": NumberColumn(unit="the peak learning rate", highest=1.0 + 1e-9),
}

_FEW_TOKENS = 1000
TOKENS_EXPECTED = f"tokens (3e11, not 300): 0, at least {_FEW_TOKENS}, or as few in as many steps as the step says"


def are_tokens(tokens: float, step: float | None) -> bool:
    """Tell whether a number of training tokens is plausible as written, and not a count in billions.

    Few tokens are believed where the training step is stated: every step reads a token at least, and 300 billion tokens
    take more than 300 steps.

    >>> are_tokens(3e11, None), are_tokens(300, None), are_tokens(300, 143_000), are_tokens(512, 1), are_tokens(1.4, 1)
    (True, False, False, True, False)
    """
    return tokens == 0 or tokens >= _FEW_TOKENS or (step is not None and 1 <= step <= tokens and tokens == int(tokens))


TEXT_COLUMNS = ("family", "model", "task", "revision", "flops_convention")
REQUIRED_COLUMNS = ("family", "model", "task")
ALIASES = {"lr_frac": "lr_fraction"}
"""Other spellings that published tables use for one and the same quantity."""
KNOWN_COLUMNS = frozenset([*TEXT_COLUMNS, *NUMBER_COLUMNS, *METRIC_COLUMNS, *SEM_COLUMNS, "is_final", *ALIASES])
FLOPS_CONVENTIONS = tuple(convention.value for convention in FlopsConvention)


def is_blank(text: str) -> bool:
    """Tell whether a cell holds no value."""
    return text.strip().lower() in _BLANK


def parse_flag(text: str) -> bool | None:
    """Return the truth value in `text`, None for a blank; ValueError for anything else."""
    word = text.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    if word in _BLANK:
        return None
    raise ValueError("true or false, or a blank")
