"""Checks measurements once, where they enter: finite numbers, in the law's domain, enough of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from forecast.core.errors import FitError
from forecast.laws.law import FloatArray, Law, Space
from forecast.laws.losses import BetaBinomial, Binomial, Loss


@dataclass(frozen=True, kw_only=True, eq=False)
class Points:
    """Measurements that a law can be fitted to."""

    x: FloatArray
    """(rows, inputs)"""
    y: FloatArray
    sigma: FloatArray
    """(rows,): ones when no standard errors were given."""
    has_sigma: bool
    weights: FloatArray
    """(rows,)"""


_SMALLEST, _LARGEST = 1e-100, 1e100
"""Powers of what lies beyond leave the range of floating-point numbers, and nothing that is measured does."""


def _check_size(name: str, values: FloatArray) -> None:
    size = np.abs(values)
    bad = np.flatnonzero((size > _LARGEST) | ((size > 0) & (size < _SMALLEST)))
    if len(bad):
        raise FitError(
            f"{name} is {values[bad[0]]:g} in row {bad[0]}",
            expected=f"sizes from {_SMALLEST:g} to {_LARGEST:g}",
            remedy="check the column, or choose another unit",
        )


def as_columns(law: Law, x: ArrayLike | Mapping[str, ArrayLike]) -> FloatArray:
    """Return x as (rows, inputs); a mapping is taken by input name, one-dimensional x is the only input.

    Raises:
        FitError: wrong number of columns, a missing name, a value that is not a finite number or outside the law's domain.
    """
    names = [column.name for column in law.inputs]
    if isinstance(x, Mapping):
        missing = [name for name in names if name not in x]
        if missing:
            raise FitError(f"'{law.name}' needs the column {', '.join(missing)}", expected=", ".join(names))
        columns = np.stack([np.asarray(x[name], dtype=np.float64) for name in names], axis=-1)
    else:
        columns = np.asarray(x, dtype=np.float64)
        if columns.ndim <= 1 and len(names) == 1:
            columns = columns.reshape(-1, 1)
        elif columns.ndim == 1 and columns.shape[0] == len(names):
            columns = columns[None]
    if columns.ndim != 2 or columns.shape[1] != len(names):
        raise FitError(f"x has shape {columns.shape}", expected=f"one column for each of {', '.join(names)} ('{law.name}')")
    for index, column in enumerate(law.inputs):
        values = columns[:, index]
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise FitError(f"{column.name} is {values[bad[0]]!r} in row {bad[0]}", expected="finite numbers")
        bad = np.flatnonzero(values <= 0) if column.positive else np.empty(0, dtype=np.intp)
        if len(bad):
            raise FitError(
                f"{column.name} is {values[bad[0]]:g} in row {bad[0]}",
                expected=f"a number above 0 ({column.unit}): '{law.name}' takes its logarithm or power",
                remedy="leave out rows without training",
            )
        _check_size(column.name, values)
    return columns


def check_points(
    law: Law,
    x: ArrayLike | Mapping[str, ArrayLike],
    y: ArrayLike,
    *,
    loss: Loss,
    space: Space,
    sigma: ArrayLike | None,
    weights: ArrayLike | None,
) -> Points:
    """Validate measurements for a law and a loss.

    Raises:
        FitError: lengths differ, values are not finite or outside the domain of the law or the loss, nothing is left.
    """
    columns = as_columns(law, x)
    values = np.asarray(y, dtype=np.float64)
    if values.shape != (len(columns),):
        raise FitError(f"y has shape {values.shape}", expected=f"({len(columns)},), one number per row of x")
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise FitError(f"y is {values[bad[0]]!r} in row {bad[0]}", expected="finite numbers")
    if len(values) == 0:
        raise FitError("there are no measurements", expected="at least as many as parameters")
    _check_size("y", values)
    _check_output(law, values, loss, space)
    errors = _column(sigma, len(values), "sigma")
    weight = _column(weights, len(values), "weights", zero_allowed=True)
    if not np.any(weight > 0):
        raise FitError("all weights are 0", expected="at least one positive weight")
    return Points(x=columns, y=values, sigma=errors, has_sigma=sigma is not None, weights=weight)


def _check_output(law: Law, y: FloatArray, loss: Loss, space: Space) -> None:
    if isinstance(loss, Binomial | BetaBinomial):
        if not law.output_fraction:
            raise FitError(f"'{law.name}' does not predict a fraction", expected="a law of accuracies for a binomial loss")
        n = np.asarray(loss.n_items, dtype=np.float64)
        if n.shape not in ((), (1,), y.shape) or not np.all(np.isfinite(n)) or np.any(n < 1):
            raise FitError("n_items must be a number of at least 1 for each row", expected=f"shape {y.shape} or one number")
    elif (getattr(loss, "space", None) or space) is Space.LOG:
        bad = np.flatnonzero(y <= 0)
        if len(bad):
            raise FitError(
                f"y is {y[bad[0]]:g} in row {bad[0]}",
                expected="numbers above 0: residuals are differences of logarithms",
                remedy="leave the row out, or take linear residuals",
            )
    if law.output_fraction:
        bad = np.flatnonzero((y < 0) | (y > 1))
        if len(bad):
            raise FitError(f"y is {y[bad[0]]:g} in row {bad[0]}", expected="a fraction in [0, 1], not percent")


def _column(values: ArrayLike | None, rows: int, name: str, *, zero_allowed: bool = False) -> FloatArray:
    if values is None:
        return np.ones(rows)
    column = (
        np.broadcast_to(np.asarray(values, dtype=np.float64), (rows,)) if np.ndim(values) == 0 else np.asarray(values, float)
    )
    if column.shape != (rows,):
        raise FitError(f"{name} has shape {column.shape}", expected=f"({rows},)")
    low = column < 0 if zero_allowed else column <= 0
    if np.any(low | ~np.isfinite(column)):
        raise FitError(f"{name} has a value that is not finite or too small", expected="positive finite numbers")
    return column.astype(np.float64)
