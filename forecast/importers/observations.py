"""Observation tables: somebody's measurements, one row per checkpoint and task, checked as a whole before any is used."""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from forecast.core.errors import InputError
from forecast.core.observation_rows import Notice, ObservationRow, to_ladders
from forecast.core.records import Metadata
from forecast.importers.observation_columns import (
    ALIASES,
    FLOPS_CONVENTIONS,
    KNOWN_COLUMNS,
    METRIC_COLUMNS,
    NUMBER_COLUMNS,
    REQUIRED_COLUMNS,
    SEM_COLUMNS,
    TOKENS_EXPECTED,
    are_tokens,
    is_blank,
    parse_flag,
)
from forecast.importers.tables import Table, read_table

__all__ = ["read_observations", "to_ladders"]

_UNIT_SLIP = 300.0
"""FLOPs and 6 N D of one row may differ by embeddings and attention, never by a thousand: that is another unit."""

_Cells = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where a cell stands, for messages."""

    row: str

    def __call__(self, column: str) -> str:
        """Name the cell of this row in `column`."""
        return f"{self.row}, column {column}"


def read_observations(path: Path, *, notice: Notice | None = None) -> list[ObservationRow]:
    """Read a table of observations (CSV, CSV.gz or Parquet), all of it or nothing.

    Unknown columns are kept in `metadata` and named in a notice; so are rows that hold no measurement, which are left out.

    Raises:
        InputError: a required column is missing, or a cell is malformed, out of range or in another unit; names row and column.
    """
    say = notice or (lambda _text: None)
    table = read_table(path)
    _check_header(table)
    unknown = [name for name in table.columns if name not in KNOWN_COLUMNS]
    if unknown:
        say(f"{path.name}: unknown columns kept as metadata: " + ", ".join(_with_hint(name) for name in unknown))
    rows = [_read_row(where, cells, unknown, path.name) for where, cells in _located(table)]
    measured = [row for row in rows if row.metrics]
    if len(measured) < len(rows):
        say(f"{path.name}: {len(rows) - len(measured)} rows hold no measurement and are left out")
    if not measured:
        raise InputError(f"{path}: no row holds a measurement", expected="a value of " + ", ".join(METRIC_COLUMNS))
    distinct = _without_repeats(measured)
    if len(distinct) < len(measured):
        say(f"{path.name}: {len(measured) - len(distinct)} rows repeat another row exactly and count once")
    if contradictory := _contradictions(distinct):
        say(
            f"{path.name}: {contradictory} rows say something else of a checkpoint and task than another row does;"
            " all of them are kept, so remove the wrong ones"
        )
    return distinct


def _check_header(table: Table) -> None:
    columns = {ALIASES.get(name, name) for name in table.columns}
    missing = [name for name in REQUIRED_COLUMNS if name not in columns]
    if missing:
        raise InputError(
            f"{table.path} has no column {' and no column '.join(missing)} (it has {', '.join(table.columns)})",
            expected="columns family, model, task",
            remedy="add them; family groups models trained by one recipe",
        )
    if not columns & METRIC_COLUMNS.keys():
        raise InputError(
            f"{table.path} has no column with a measurement (it has {', '.join(table.columns)})",
            expected="any of " + ", ".join(METRIC_COLUMNS),
        )
    if "flops" not in columns and not ("tokens" in columns and columns & {"params", "params_non_embedding"}):
        raise InputError(
            f"{table.path} does not say how much compute a row took (it has {', '.join(table.columns)})",
            expected="flops, or params with tokens",
        )
    for alias, name in ALIASES.items():
        if alias in table.columns and name in table.columns:
            raise InputError(f"{table.path} has both {alias} and {name}", expected="one of them")


def _with_hint(name: str) -> str:
    close = difflib.get_close_matches(name.lower(), sorted(KNOWN_COLUMNS), n=1, cutoff=0.8)
    return f"{name} (did you mean {close[0]}?)" if close else name


def _located(table: Table) -> Iterator[tuple[_Place, _Cells]]:
    names = [ALIASES.get(name, name) for name in table.columns]
    for number, (line, cells) in enumerate(zip(table.lines, table.rows, strict=True), start=1):
        place = f"{table.path}, row {number}" + (f" (line {line})" if line != number else "")
        yield _Place(row=place), dict(zip(names, cells, strict=True))


def _read_row(where: _Place, cells: _Cells, unknown: list[str], source: str) -> ObservationRow:
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
        raise InputError(f"{where(name)}: {cells[name]!r}", expected=str(error), remedy="nothing was imported") from error


def _flag(where: _Place, cells: _Cells, name: str) -> bool | None:
    try:
        return parse_flag(cells.get(name, ""))
    except ValueError as error:
        raise InputError(f"{where(name)}: {cells[name]!r}", expected=str(error), remedy="nothing was imported") from error


def _convention(where: _Place, cells: _Cells) -> str | None:
    text = cells.get("flops_convention", "")
    if is_blank(text):
        return None
    if text.strip() not in FLOPS_CONVENTIONS:
        raise InputError(f"{where('flops_convention')}: {text!r}", expected="one of " + ", ".join(FLOPS_CONVENTIONS))
    return text.strip()


def _check_compute(where: _Place, numbers: Mapping[str, float | None]) -> None:
    flops, tokens = numbers["flops"], numbers["tokens"]
    params = numbers["params"] or numbers["params_non_embedding"]
    if tokens is not None and not are_tokens(tokens, numbers["step"]):
        raise InputError(f"{where('tokens')}: {tokens:g}", expected=TOKENS_EXPECTED, remedy="nothing was imported")
    if flops is None and (params is None or tokens is None):
        raise InputError(
            f"{where('flops')}: it is blank", expected="flops, or params with tokens", remedy="nothing was imported"
        )
    if flops and tokens and params:
        ratio = flops / (6.0 * params * tokens)
        if not 1.0 / _UNIT_SLIP < ratio < _UNIT_SLIP:
            raise InputError(
                f"{where('flops')}: {flops:g} is {ratio:.3g} times 6 x {params:g} params x {tokens:g} tokens",
                expected="all three in units of one",
                remedy="nothing was imported",
            )


def _present(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}


def _metadata(cells: _Cells, unknown: list[str]) -> Metadata:
    return {name: _plain(cells[name]) for name in unknown if not is_blank(cells[name])}


def _plain(text: str) -> str | int | float | bool:
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        # Infinities have no place in JSON, where the store keeps metadata.
        return value if math.isfinite(value) else text
    return {"true": True, "false": False}.get(text.strip().lower(), text)


def _contradictions(rows: list[ObservationRow]) -> int:
    """Count rows beyond the first with the same checkpoint, task, shots, metadata and set of metrics."""
    same = Counter(repr(replace(row, metrics=dict.fromkeys(row.metrics, 0.0), sems={}, n_items=None)) for row in rows)
    return sum(count - 1 for count in same.values())


def _without_repeats(rows: list[ObservationRow]) -> list[ObservationRow]:
    seen: set[str] = set()
    distinct = []
    for row in rows:
        key = repr(row)
        if key not in seen:
            seen.add(key)
            distinct.append(row)
    return distinct
