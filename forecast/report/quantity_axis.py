"""How a quantity is drawn: its label with unit, its scale, and names that a user chose as they are."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from forecast.core.metrics import BY_NAME
from forecast.core.observations import BoolArray, FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe & Ito 2008 (https://jfly.uni-koeln.de/color/): told apart by the colour-blind; marks and dashes differ too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
MARKS = ("o", "s", "^", "D")
DASHES = ("-", "--", "-.", ":")
_COUNTS = {
    "flops": "training compute (FLOPs)",
    "params": "parameters, embeddings included",
    "params_non_embedding": "parameters without embeddings",
    "tokens": "training tokens",
    "step": "training steps",
}
_LINEAR_BELOW = 3.0
"""A positive quantity that spans less than this factor reads better on a linear axis."""


def scale_of(name: str) -> float:
    """What numbers of a metric or quantity are multiplied by to be drawn: fractions are drawn in percent."""
    accuracy = "acc" + name.removeprefix("error") if name.startswith("error") else name
    return 100.0 if accuracy in BY_NAME and BY_NAME[accuracy].unit == "fraction" else 1.0


def label_of(name: str, meaning: str = "") -> str:
    """Label of an axis with its unit: the metric's or the count's own, else the column's name with what the law says of it.

    >>> label_of("loss"), label_of("error_norm"), label_of("lr", "peak learning rate")
    ('loss on general text (nats per token)', '1 - length-normalised accuracy (%)', 'lr: peak learning rate')
    """
    if name in BY_NAME:
        return BY_NAME[name].axis
    accuracy = "acc" + name.removeprefix("error") if name.startswith("error") else ""
    if accuracy in BY_NAME:
        return f"1 - {BY_NAME[accuracy].axis}"
    return _COUNTS.get(name) or (f"{name}: {meaning}" if meaning else name)


def falls(name: str) -> bool:
    """Whether a better model has less of it and it is a metric, so that better belongs to the right."""
    return name in BY_NAME and BY_NAME[name].falls


def spans_decades(values: FloatArray) -> bool:
    """Whether values are drawn on a logarithmic axis."""
    known = values[np.isfinite(values)]
    return bool(len(known) and known.min() > 0 and known.max() > _LINEAR_BELOW * known.min())


def written(text: str, width: int) -> str:
    r"""Wrap a text for a figure; a dollar sign is a dollar sign, not the begin of a formula.

    >>> written("a family of 5$ models", 12)
    'a family of\n5\\$ models'
    """
    lines = textwrap.wrap(" ".join(text.split()), width) or [""]
    return "\n".join(lines).replace("$", r"\$")


def set_log_y(axes: Axes) -> None:
    """Make y logarithmic; over less than a decade with plain numbers at round places, where powers of ten label nothing."""
    from matplotlib.ticker import MaxNLocator, NullLocator, ScalarFormatter

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    if high < 10 * low:
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
        axes.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))
        axes.yaxis.set_minor_locator(NullLocator())


def frame(axes: Axes, values: FloatArray, *, log: bool) -> None:
    """Set the y axis to the values that are drawn, with room around them; not finite ones do not count."""
    known = values[np.isfinite(values)]
    if log:
        known = known[known > 0]
    if not len(known):
        return
    low, high = float(known.min()), float(known.max())
    if log:
        room = max((high / low) ** 0.06, 1.01)
        axes.set_ylim(low / room, high * room)
        set_log_y(axes)
        return
    room = 0.06 * (high - low) or 0.05 * max(abs(high), 1e-12)
    axes.set_ylim(low - room, high + room)


def grid_between(low: float, high: float, *, log: bool, count: int = 240) -> FloatArray:
    """Points (count,) from the lowest to the highest measured value, dense enough for a smooth curve."""
    found = np.geomspace(low, high, count) if log else np.linspace(low, high, count)
    # Ends as they are: rounding must not leave the measured range, where a law may not be defined.
    return np.asarray(np.clip(found, low, high))


def drawable(*columns: FloatArray) -> BoolArray:
    """Rows in which every column is finite."""
    return np.asarray(np.all([np.isfinite(column) for column in columns], axis=0))
