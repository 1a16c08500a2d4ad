"""One row of an observation table at a time: the plain definition of what a table says, and where errors are named.

`observation_blocks` does the same for whole columns; what it cannot vouch for comes here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from forecast.core.errors import InputError
from forecast.core.observation_rows import ObservationRow
from forecast.core.records import Metadata
from forecast.core.scale import scale_fault
from forecast.importers.observation_columns import (
    ALIASES,
    FLOPS_CONVENTIONS,
    METRIC_COLUMNS,
    NUMBER_COLUMNS,
    REQUIRED_COLUMNS,
    SEM_COLUMNS,
    TOKENS_EXPECTED,
    are_tokens,
    is_blank,
    parse_flag,
)
from forecast.importers.table_blocks import Block, Table

_NOTHING = "nothing was imported"

_Cells = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class _Place:
    """The place of a cell, for messages."""

    row: str

    def __call__(self, column: str) -> str:
        """Name the cell of this row in `column`."""
        return f"{self.row}, column {column}"


def read_rows(table: Table, block: Block, unknown: Sequence[str], source: str) -> Iterator[ObservationRow]:
    """Yield the rows of a block; `unknown` columns become metadata.

    Raises:
        InputError: a cell is malformed, out of range or in another unit; names row and column.
    """
    names = [ALIASES.get(name, name) for name in table.columns]
    for number, (line, cells) in enumerate(zip(block.lines, block.rows(), strict=True), start=block.first_row):
        place = f"{table.path}, row {number}" + (f" (line {line})" if line != number else "")
        yield _read_row(_Place(row=place), dict(zip(names, cells, strict=True)), unknown, source)


def _read_row(where: _Place, cells: _Cells, unknown: Sequence[str], source: str) -> ObservationRow:
    for name in REQUIRED_COLUMNS:
        if not cells[name].strip():
            raise InputError(f"{where(name)}: it is blank", expected="a name")
    numbers = {name: _number(where, cells, name) for name in NUMBER_COLUMNS}
    step, shots, items = numbers["step"], numbers["num_fewshot"], numbers["n_items"]
    _check_compute(where, numbers)
    return ObservationRow(
        family=cells["family"].strip(),
        model=cells["model"].strip(),
        task=cells["task"].strip(),
        metrics=_present({name: _number(where, cells, name) for name in METRIC_COLUMNS}),
        sems=_present({name.removesuffix("_sem"): _number(where, cells, name) for name in SEM_COLUMNS}),
        step=None if step is None else int(step),
        params=numbers["params"],
        params_non_embedding=numbers["params_non_embedding"],
        tokens=numbers["tokens"],
        flops=numbers["flops"],
        flops_convention=_convention(where, cells),
        num_fewshot=None if shots is None else int(shots),
        revision=cells.get("revision", "").strip(),
        is_final=_flag(where, cells, "is_final"),
        n_items=None if items is None else int(items),
        chance=numbers["chance"],
        lr_fraction=numbers["lr_fraction"],
        source=source,
        metadata=_metadata(cells, unknown),
    )


def _number(where: _Place, cells: _Cells, name: str) -> float | None:
    column = NUMBER_COLUMNS.get(name) or METRIC_COLUMNS.get(name) or SEM_COLUMNS[name]
    try:
        return column.parse(cells.get(name, ""))
    except ValueError as error:
        raise InputError(f"{where(name)}: {shown(cells[name])}", expected=str(error), remedy=_NOTHING) from error


def _flag(where: _Place, cells: _Cells, name: str) -> bool | None:
    try:
        return parse_flag(cells.get(name, ""))
    except ValueError as error:
        raise InputError(f"{where(name)}: {shown(cells[name])}", expected=str(error), remedy=_NOTHING) from error


def _convention(where: _Place, cells: _Cells) -> str | None:
    text = cells.get("flops_convention", "")
    if is_blank(text):
        return None
    if text.strip() not in FLOPS_CONVENTIONS:
        raise InputError(f"{where('flops_convention')}: {shown(text)}", expected="one of " + ", ".join(FLOPS_CONVENTIONS))
    return text.strip()


def _check_compute(where: _Place, numbers: Mapping[str, float | None]) -> None:
    flops, tokens, step = numbers["flops"], numbers["tokens"], numbers["step"]
    params, others = numbers["params"], numbers["params_non_embedding"]
    if tokens is not None and not are_tokens(tokens, step):
        raise InputError(f"{where('tokens')}: {tokens:g}", expected=TOKENS_EXPECTED, remedy=_NOTHING)
    if flops is None and ((params is None and others is None) or tokens is None):
        raise InputError(f"{where('flops')}: it is blank", expected="flops, or params with tokens", remedy=_NOTHING)
    fault = scale_fault(
        params=params,
        params_non_embedding=others,
        tokens=tokens,
        flops=flops,
        may_be_untrained=not (flops or tokens or step),
    )
    if fault is not None:
        remedy = f"parameters, tokens and FLOPs are all in units of one; {_NOTHING}"
        raise InputError(f"{where(fault.quantity)}: {fault.found}", expected=fault.expected, remedy=remedy)


def _present(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}


def _metadata(cells: _Cells, unknown: Sequence[str]) -> Metadata:
    return {name: plain(cells[name]) for name in unknown if not is_blank(cells[name])}


def plain(text: str) -> str | int | float | bool:
    """Return what a cell of an unknown column holds: a number, a truth value, or the text itself.

    >>> plain("3"), plain("0.50"), plain("true"), plain("inf"), plain("x")
    (3, 0.5, True, 'inf', 'x')
    """
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        # Infinities have no place in JSON, where the store keeps metadata.
        return value if math.isfinite(value) else text
    return {"true": True, "false": False}.get(text.strip().lower(), text)


def shown(text: str) -> str:
    """Return a cell as it can be shown in a message of one line.

    >>> shown("half"), len(shown("x" * 10_000_000)) < 100
    ("'half'", True)
    """
    return repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r}... ({len(text):,} characters)"


_SHOWN = 60
