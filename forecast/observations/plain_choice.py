"""Which rows of a plain table are meant: as in an observation table, families, tasks and shots are never mixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from forecast.core.errors import UsageError
from forecast.core.observations import FloatArray
from forecast.core.units import FLOPS_PER_PARAM_TOKEN, FlopsConvention


@dataclass(frozen=True, kw_only=True)
class PlainRows:
    """Rows that belong together, and what they have in common; empty where the table does not say."""

    rows: Sequence[Sequence[str]]
    family: str
    task: str
    num_fewshot: int | None


def choose_plain(
    source: Path,
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    family: str | None,
    task: str | None,
    num_fewshot: int | None,
) -> PlainRows:
    """Keep the rows of one family, task and number of shots.

    Args:
        source: the table, for messages.
        names: its columns.
        rows: cells, in the order of the columns.
        family: as the user says; None takes the only one.
        task: likewise.
        num_fewshot: likewise.

    Raises:
        UsageError: the table has no such column or value, or several values and none is chosen.
    """
    common = {}
    asked = {"family": family, "task": task, "num_fewshot": None if num_fewshot is None else str(num_fewshot)}
    for column, wanted in asked.items():
        option = f"`{column}=`"
        if column not in names:
            if wanted is not None:
                raise UsageError(
                    f"{source} has no column '{column}', so {option} {wanted} names nothing in it",
                    expected=", ".join(names),
                    remedy=f"leave {option} out if all rows are meant",
                )
            common[column] = ""
            continue
        position = list(names).index(column)
        cells = [row[position].strip() for row in rows]
        common[column] = _only(source, column, option, wanted, cells)
        rows = [row for row, cell in zip(rows, cells, strict=True) if cell == common[column]]
    shots = common["num_fewshot"]
    return PlainRows(
        rows=rows, family=common["family"], task=common["task"], num_fewshot=int(shots) if shots.isdecimal() else None
    )


def _only(source: Path, column: str, option: str, wanted: str | None, cells: Sequence[str]) -> str:
    present = sorted(set(cells))
    shown = ", ".join(name or "(blank)" for name in present[:8]) + (", ..." if len(present) > 8 else "")
    if wanted is None and len(present) > 1:
        raise UsageError(
            f"{source} holds {len(present)} values of {column} ({shown})",
            expected="rows that were measured alike",
            remedy=f"choose with {option}",
        )
    if wanted is not None and wanted not in present:
        raise UsageError(f"{source} has no row with {column} {wanted}", expected=f"one of {shown}")
    return present[0] if wanted is None else wanted


def add_flops(columns: dict[str, FloatArray]) -> str:
    """Add the training FLOPs that follow from parameters and tokens where no column states them; return their convention."""
    counts = (
        ("params", FlopsConvention.SIX_ND_TOTAL),
        ("params_non_embedding", FlopsConvention.SIX_ND_NON_EMBEDDING),
    )
    for name, convention in counts:
        if "flops" not in columns and name in columns and "tokens" in columns:
            with np.errstate(over="ignore"):  # The law that uses it refuses what is not finite.
                columns["flops"] = FLOPS_PER_PARAM_TOKEN * columns[name] * columns["tokens"]
            return convention.value
    return FlopsConvention.PUBLISHED.value
