"""Whole columns of an observation table at once: a million rows are checked in seconds.

Nothing is decided here that `observation_cells` does not define: where a block holds anything that is not plainly right,
`read_block` returns None and the block is read again row by row, which finds the row and column to name, or accepts it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from forecast.core.observation_tables import CONTENT_COLUMNS, join_members
from forecast.core.observations import FloatArray
from forecast.core.scale import LEAST_TOKENS_PER_PARAM, MOST_DISAGREEMENT, MOST_TOKENS_PER_PARAM, RANGES
from forecast.core.units import FLOPS_PER_PARAM_TOKEN
from forecast.importers.observation_cells import plain
from forecast.importers.observation_columns import (
    ALIASES,
    FLOPS_CONVENTIONS,
    METRIC_COLUMNS,
    NUMBER_COLUMNS,
    REQUIRED_COLUMNS,
    SEM_COLUMNS,
    NumberColumn,
    are_tokens,
    is_blank,
    parse_flag,
)
from forecast.importers.table_blocks import Block

_NUMBERS = NUMBER_COLUMNS | METRIC_COLUMNS | SEM_COLUMNS
_INTEGERS = frozenset(field.name for field in CONTENT_COLUMNS if pa.types.is_integer(field.type))


class _DoubtfulError(ValueError):
    """A block holds a cell that only the row-wise reading can judge."""


def read_block(columns: Sequence[str], block: Block, unknown: Sequence[str], source: str) -> pa.RecordBatch | None:
    """Return a block's rows as columns, None where a cell is doubtful; `unknown` columns become metadata."""
    cells = {ALIASES.get(name, name): column for name, column in zip(columns, block.cells, strict=True)}
    try:
        numbers = {name: _numbers(cells[name], column) for name, column in _NUMBERS.items() if name in cells}
        _check_compute(len(block), numbers)
        found = {
            **{name: _mapped(_text(cells[name]), _name) for name in REQUIRED_COLUMNS},
            **{name: _number_column(name, values) for name, values in numbers.items()},
            "metadata": _metadata(len(block), {name: _text(cells[name]) for name in unknown}),
        }
        if "flops_convention" in cells:
            found["flops_convention"] = _mapped(_text(cells["flops_convention"]), _convention)
        if "is_final" in cells:
            found["is_final"] = _mapped(_text(cells["is_final"]), parse_flag, pa.bool_())
    except ValueError:
        return None
    found["source"] = pa.repeat(source, len(block))
    found["definition"] = pa.repeat("", len(block))
    found["revision"] = _mapped(_text(cells["revision"]), str.strip) if "revision" in cells else found["definition"]
    arrays = [found.get(field.name, pa.nulls(len(block), field.type)) for field in CONTENT_COLUMNS]
    return pa.RecordBatch.from_arrays(arrays, schema=CONTENT_COLUMNS)


def _text(cells: pa.Array) -> pa.Array:
    if pa.types.is_string(cells.type):
        return cells
    return pa.array(["" if value is None else str(value) for value in cells.to_pylist()], pa.string())


def _mapped(cells: pa.Array, read: Callable[[str], object], kind: pa.DataType | None = None) -> pa.Array:
    """Read every distinct cell once."""
    distinct = cells.dictionary_encode()
    values = [read(text) for text in distinct.dictionary.to_pylist()]
    return pa.array(values, kind or pa.string()).take(distinct.indices)


def _name(text: str) -> str:
    if not text.strip():
        raise _DoubtfulError
    return text.strip()


def _convention(text: str) -> str | None:
    if is_blank(text):
        return None
    if text.strip() not in FLOPS_CONVENTIONS:
        raise _DoubtfulError
    return text.strip()


def _numbers(cells: pa.Array, column: NumberColumn) -> FloatArray:
    """Return a column's numbers, NaN for blanks."""
    if pa.types.is_string(cells.type):
        values = _arrow_numbers(cells)
        if values is None:
            texts = cells.to_pylist()
            known = {text: column.parse(text) for text in set(texts)}
            values = np.array([known[text] for text in texts], dtype=np.float64)
    else:
        values = cells.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    if not column.accepts(values):
        raise _DoubtfulError
    return values + 0.0


def _arrow_numbers(cells: pa.Array) -> FloatArray | None:
    """Read plain numbers and empty cells; None where there is anything else (Arrow takes `nan(x)` for a number, too)."""
    empty = pc.equal(cells, "")
    try:
        values = pc.if_else(empty, None, cells).cast(pa.float64())
    except pa.ArrowException:
        return None
    return None if pc.any(pc.is_nan(values)).as_py() else values.to_numpy(zero_copy_only=False)


def _number_column(name: str, values: FloatArray) -> pa.Array:
    if name not in _INTEGERS:
        return pa.array(values, pa.float64(), from_pandas=True)
    missing = np.isnan(values)
    whole = np.where(missing, 0.0, values).astype(np.int64)
    return pa.array(whole, pa.int64(), mask=missing).cast(CONTENT_COLUMNS.field(name).type)


def _check_compute(rows: int, numbers: Mapping[str, FloatArray]) -> None:
    """Raise unless every row's parameters, tokens and FLOPs are there and fit together."""
    blank = np.full(rows, np.nan)
    flops, tokens, step, total, others = (
        numbers.get(name, blank) for name in ("flops", "tokens", "step", "params", "params_non_embedding")
    )
    params = np.where(np.isnan(total), others, total)
    known_tokens = ~np.isnan(tokens)
    few = known_tokens & (tokens != 0) & (tokens < _SURE_TOKENS)
    for place in np.flatnonzero(few):
        if not are_tokens(float(tokens[place]), None if np.isnan(step[place]) else float(step[place])):
            raise _DoubtfulError
    if (np.isnan(flops) & (np.isnan(params) | ~known_tokens)).any():
        raise _DoubtfulError
    # Comparisons with NaN, an unknown number, are false: only what is known can be wrong.
    trained = (flops > 0) | (tokens > 0) | (step > 0)
    wrong = np.zeros(rows, dtype=np.bool_)
    for name, values in (("params", total), ("params_non_embedding", others), ("tokens", tokens), ("flops", flops)):
        outside = (values < RANGES[name].low) | (values > RANGES[name].high)
        untrained = ~trained & (values == 0) if name in ("tokens", "flops") else False
        wrong |= outside & ~np.asarray(untrained)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        share = tokens / params
        counted = FLOPS_PER_PARAM_TOKEN * params * tokens
        wrong |= (tokens > 0) & ((share < LEAST_TOKENS_PER_PARAM) | (share > MOST_TOKENS_PER_PARAM))
        off = (flops / counted < 1 / MOST_DISAGREEMENT) | (flops / counted > MOST_DISAGREEMENT)
        wrong |= (tokens > 0) & (flops > 0) & off
    if wrong.any():
        raise _DoubtfulError


_SURE_TOKENS = 1000.0
"""So many or more are believed whatever the step is."""


def _metadata(rows: int, cells: Mapping[str, pa.Array]) -> pa.Array:
    """Return the unknown columns' cells as one JSON object per row, blanks left out."""
    members = [_mapped(cells[name], partial(_member, name)) for name in sorted(cells)]
    return join_members(members, rows, ", ")


def _member(name: str, text: str) -> str | None:
    return (
        None if is_blank(text) else f", {json.dumps(name, ensure_ascii=False)}: {json.dumps(plain(text), ensure_ascii=False)}"
    )
