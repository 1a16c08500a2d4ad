"""Rows of a table that is not a whole observation table: a law asks only for the columns it uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from forecast.core.errors import FitError
from forecast.core.metrics import BY_NAME
from forecast.core.observation_rows import ALL_METRICS, ObservationRow
from forecast.core.observations import FloatArray
from forecast.core.records import Metadata
from forecast.core.scale import RANGES, scale_fault
from forecast.core.units import FlopsConvention
from forecast.importers.observation_columns import ALIASES, is_blank, parse_flag
from forecast.importers.table_blocks import Table

_NUMBERS = ("params", "params_non_embedding", "tokens", "flops", "chance", "lr_fraction")
_COUNTS = ("step", "num_fewshot", "n_items")


def plain_rows(table: Table) -> list[ObservationRow]:
    """Read a table's rows without asking for anything: what is not a number where one belongs is unknown."""
    names = [ALIASES.get(name, name) for name in table.columns]
    return [_row(dict(zip(names, cells, strict=True))) for cells in table.rows]


def _row(cells: Mapping[str, str]) -> ObservationRow:
    numbers = {name: as_number(cells.get(name)) for name in (*_NUMBERS, *_COUNTS)}
    counts = {name: None if numbers[name] is None else int(numbers[name] or 0) for name in _COUNTS}
    metrics = {name: value for name in ALL_METRICS if (value := as_number(cells.get(name))) is not None}
    sems = {name: value for name in ALL_METRICS if (value := as_number(cells.get(f"{name}_sem"))) is not None}
    known = {"family", "model", "task", "revision", "flops_convention", "is_final", *_NUMBERS, *_COUNTS}
    metadata: Metadata = {
        name: cell
        for name, cell in cells.items()
        if name not in known and name not in metrics and name.removesuffix("_sem") not in sems and not is_blank(cell)
    }
    convention = cells.get("flops_convention", "").strip()
    return ObservationRow(
        family=cells["family"].strip(),
        model=cells["model"].strip(),
        task=cells["task"].strip(),
        metrics=metrics,
        sems=sems,
        step=counts["step"],
        params=numbers["params"],
        params_non_embedding=numbers["params_non_embedding"],
        tokens=numbers["tokens"],
        flops=numbers["flops"],
        flops_convention=convention if convention in {entry.value for entry in FlopsConvention} else None,
        num_fewshot=counts["num_fewshot"],
        revision=cells.get("revision", "").strip(),
        is_final=_flag(cells.get("is_final", "")),
        n_items=counts["n_items"],
        chance=numbers["chance"],
        lr_fraction=numbers["lr_fraction"],
        metadata=metadata,
    )


def _flag(text: str) -> bool | None:
    try:
        return parse_flag(text)
    except ValueError:
        return None


def as_number(value: object) -> float | None:
    """Return a finite number, None for anything else; truth values count as 0 and 1.

    >>> as_number("1e9"), as_number("true"), as_number("nan"), as_number("seven")
    (1000000000.0, 1.0, None, None)
    """
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, int | float):
        return float(value) if np.isfinite(value) else None
    if isinstance(value, str):
        text = value.strip().lower()
        if text in ("true", "false"):
            return float(text == "true")
        try:
            number = float(text.replace("_", "?"))
        except ValueError:
            return None
        return number if np.isfinite(number) else None
    return None


def check_used(columns: Mapping[str, FloatArray], runs: Sequence[str], used: Mapping[str, str]) -> None:
    """Check the columns that a law uses in their own unit; what it does not use may hold anything.

    Args:
        columns: name -> (rows,) numbers; NaN where a row has none.
        runs: what to call each row.
        used: column -> the name of the law's input or output that it stands for.

    Raises:
        FitError: a value that cannot be in the column's unit, such as an accuracy of 63; names column and row.
    """
    for name in used:
        metric, values = BY_NAME.get(name), columns[name]
        if metric is None:
            continue
        wrong = np.flatnonzero((values < metric.low) | (values > metric.high))
        if len(wrong):
            hint = ", such as 0.63 and not 63" if metric.unit == "fraction" else ""
            raise FitError(
                f"{name} is {values[wrong[0]]:g} in row '{runs[wrong[0]]}'",
                expected=f"{metric.low:g} to {metric.high:g} ({metric.unit}{hint})",
            )
    # A learning curve may count its examples in a column `tokens`: only a law of tokens asks for tokens.
    scales = [name for name, meaning in used.items() if name in RANGES and meaning == name]
    for row, run in enumerate(runs):
        numbers = {name: float(columns[name][row]) for name in scales if np.isfinite(columns[name][row])}
        fault = scale_fault(**numbers, may_be_untrained=True)
        if fault is not None:
            raise FitError(f"row '{run}': {fault.found}", expected=fault.expected, remedy="check the unit")
