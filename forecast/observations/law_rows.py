"""Rows that a law can be fitted on: complete in the columns it uses, and every number in its unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from forecast.core.errors import FitError
from forecast.core.observations import FloatArray
from forecast.laws import Law, Space
from forecast.observations.law_columns import choose_columns
from forecast.observations.measurements import Measurements, Notice
from forecast.observations.plain_rows import check_used


@dataclass(frozen=True, kw_only=True)
class LawRows:
    """Complete rows, and which columns the law takes from them."""

    data: Measurements
    x: Mapping[str, str]
    """Law input -> column."""
    y: str
    dropped: int
    """Rows that were left out."""

    def inputs(self) -> dict[str, FloatArray]:
        """Law input -> its numbers (rows,)."""
        return {name: self.data.column(column) for name, column in self.x.items()}

    def sigma(self, space: Space) -> FloatArray:
        """Standard errors of y (rows,) as a residual space counts them.

        Raises:
            FitError: a row has none.
        """
        errors = self.data.column(f"{self.y}_sem")
        if not np.all(np.isfinite(errors) & (errors > 0)):
            raise FitError(f"some rows have no standard error of {self.y}", remedy="leave out `use_sem=`")
        return errors / self.data.column(self.y) if space is Space.LOG else errors

    def check_logarithms(self) -> None:
        """Check that residuals of y can be taken in logarithms.

        Raises:
            FitError: a number is not above 0; names its row.
        """
        values = self.data.column(self.y)
        bad = np.flatnonzero(values <= 0)
        if len(bad):
            raise FitError(
                f"{self.y} is {values[bad[0]]:g} in row '{self.data.runs[bad[0]]}'",
                expected="numbers above 0: residuals are taken in logarithms",
                remedy="leave the row out, or take `space=` linear",
            )


def rows_for_law(law: Law, data: Measurements, columns: Mapping[str, str], y: str | None, *, notice: Notice) -> LawRows:
    """Choose the law's columns and keep the rows that have them all.

    Args:
        law: what is to be fitted.
        data: measurements.
        columns: input -> column, as the user says.
        y: column to predict, as the user says.
        notice: takes what the user should read.

    Raises:
        UsageError: see `choose_columns`.
        FitError: no row is complete, or a number cannot be in its unit.
    """
    x, y = choose_columns(law, data, columns, y)
    needed = [*x.values(), y]
    complete = np.all([np.isfinite(data.column(name)) for name in needed], axis=0)
    # A checkpoint before training has no place on a scale that starts above zero.
    for entry in law.inputs:
        if entry.positive:
            complete &= ~(data.column(x[entry.name]) == 0.0)
    dropped = int((~complete).sum())
    if dropped:
        notice(f"{dropped} of {len(data)} rows lack one of {', '.join(needed)}, or are untrained, and are left out")
    data = data.take(np.flatnonzero(complete).tolist())
    if not len(data):
        raise FitError(f"no row of {data.source} has all of {', '.join(needed)}", remedy="name others with `columns=` and `y=`")
    _check_scales(law, data, x)
    check_used(data.columns, data.runs, {column: name for name, column in x.items()} | {y: y})
    return LawRows(data=data, x=x, y=y, dropped=dropped)


def _check_scales(law: Law, data: Measurements, x_columns: Mapping[str, str]) -> None:
    """Name the row by what the user sees; the law itself would count only the rows that are left."""
    for entry in law.inputs:
        values = data.column(x_columns[entry.name])
        bad = np.flatnonzero(values < 0)
        if entry.positive and len(bad):
            raise FitError(
                f"{x_columns[entry.name]} is {values[bad[0]]:g} in row '{data.runs[bad[0]]}'",
                expected=f"a number above 0 ({entry.unit})",
            )
