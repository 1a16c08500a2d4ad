"""Observations column by column, in Arrow: the form in which a table of a million of them is checked, named and stored.

`ObservationRow` is the same thing row by row, for code that fits laws. A row's identity is a hash of its content; here it is
computed for whole columns, and `observation_hash` is the plain definition that it is tested against.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from forecast.core.hashing import content_hash
from forecast.core.observation_rows import ALL_METRICS, ObservationRow

_I32, _I64, _F64, _TEXT, _FLAG = pa.int32(), pa.int64(), pa.float64(), pa.string(), pa.bool_()

CONTENT_COLUMNS = pa.schema(
    [
        ("source", _TEXT),
        ("definition", _TEXT),
        ("family", _TEXT),
        ("model", _TEXT),
        ("revision", _TEXT),
        ("step", _I64),
        ("task", _TEXT),
        ("num_fewshot", _I32),
        ("params", _F64),
        ("params_non_embedding", _F64),
        ("tokens", _F64),
        ("flops", _F64),
        ("flops_convention", _TEXT),
        ("is_final", _FLAG),
        ("n_items", _I64),
        ("chance", _F64),
        ("lr_fraction", _F64),
        *((name, _F64) for name in ALL_METRICS),
        *((f"{name}_sem", _F64) for name in ALL_METRICS),
        ("metadata", _TEXT),
    ]
)
"""Columns of an observation. Unknown values are null; `metadata` is a JSON object."""

IDENTIFIED_COLUMNS = pa.schema([("observation_id", _TEXT), *CONTENT_COLUMNS])

_PLACES = {name: place for place, name in enumerate(CONTENT_COLUMNS.names)}
_TEXTS: Mapping[Any, Callable[[Any], str]] = {
    _F64: float.__repr__,
    _I32: str,
    _I64: str,
    _FLAG: lambda value: "true" if value else "false",
    _TEXT: lambda value: json.dumps(value, ensure_ascii=False),
}
"""How a value of each type is written in canonical JSON."""


def metadata_text(metadata: Mapping[str, object]) -> str:
    """Return metadata as one canonical JSON object."""
    return json.dumps(dict(metadata), sort_keys=True, ensure_ascii=False, allow_nan=False)


def observation_content(row: ObservationRow, source: str = "") -> dict[str, object]:
    """Return what a row says, by column; `source` instead of its own where one is given."""
    return {
        "source": source or row.source,
        "definition": row.definition,
        "family": row.family,
        "model": row.model,
        "revision": row.revision,
        "step": row.step,
        "task": row.task,
        "num_fewshot": row.num_fewshot,
        "params": row.params,
        "params_non_embedding": row.params_non_embedding,
        "tokens": row.tokens,
        "flops": row.flops,
        "flops_convention": row.flops_convention,
        "is_final": row.is_final,
        "n_items": row.n_items,
        "chance": row.chance,
        "lr_fraction": row.lr_fraction,
        **row.metrics,
        **{f"{name}_sem": value for name, value in row.sems.items()},
        "metadata": metadata_text(row.metadata),
    }


def observation_hash(content: Mapping[str, object]) -> str:
    """Return the content hash of an observation: its known values, numbers in the form in which they are stored."""
    known = {name: content[name] for name in _PLACES if content.get(name) is not None}
    floats = {name for name in known if CONTENT_COLUMNS.field(name).type == _F64}
    return content_hash(
        {name: float(value) if name in floats and isinstance(value, int) else value for name, value in known.items()}
    )


def batch_of_rows(rows: Iterable[ObservationRow]) -> pa.RecordBatch:
    """Return rows as columns."""
    return pa.RecordBatch.from_pylist([observation_content(row) for row in rows], schema=CONTENT_COLUMNS)


def observation_ids(batch: pa.RecordBatch) -> list[str]:
    """Return the content hash of every row, as `observation_hash` gives it."""
    # The canonical JSON of a row, put together for all rows at once.
    members = [_members(name, batch.column(name)) for name in sorted(_PLACES)]
    texts = join_members(members, batch.num_rows, ",").cast(pa.binary())
    return [hashlib.sha256(text).hexdigest()[:32] for text in texts.to_pylist()]


def _members(name: str, column: pa.Array) -> pa.Array:
    write = _TEXTS[column.type]
    distinct = column.dictionary_encode()
    texts = [f',"{name}":{write(value)}' for value in distinct.dictionary.to_pylist()]
    return pa.array(texts, _TEXT).take(distinct.indices)


def join_members(members: Sequence[pa.Array], rows: int, separator: str) -> pa.Array:
    """Return one JSON object per row; a member begins with the separator, and a null one is left out."""
    present = [column for column in members if column.null_count < rows]
    if not present:
        return pa.repeat("{}", rows)
    # Where Arrow 26 skips nulls, it forgets the rows in which all are null; replacing them is right.
    joined = pc.binary_join_element_wise(*present, "", null_handling="replace", null_replacement="")
    return pc.binary_join_element_wise("{", pc.utf8_slice_codeunits(joined, len(separator)), "}", "")


def rows_of(batch: pa.RecordBatch) -> Iterator[ObservationRow]:
    """Yield columns as rows; equal texts and metadata are one object."""
    columns = {name: _shared(batch.column(name)) for name in CONTENT_COLUMNS.names}
    metadata = {text: json.loads(text) for text in set(columns["metadata"])}
    metrics = [name for name in ALL_METRICS if batch.column(name).null_count < batch.num_rows]
    sems = [name for name in ALL_METRICS if batch.column(f"{name}_sem").null_count < batch.num_rows]
    plain = CONTENT_COLUMNS.names[: _PLACES[ALL_METRICS[0]]]
    for index, values in enumerate(zip(*(columns[name] for name in plain), strict=True)):
        yield ObservationRow(
            **dict(zip(plain, values, strict=True)),
            metrics={name: value for name in metrics if (value := columns[name][index]) is not None},
            sems={name: value for name in sems if (value := columns[f"{name}_sem"][index]) is not None},
            metadata=metadata[columns["metadata"][index]],
        )


def _shared(column: pa.Array) -> list[Any]:
    if column.type != _TEXT:
        return list(column.to_pylist())
    distinct = column.dictionary_encode()
    values = distinct.dictionary.to_pylist()
    return [None if place is None else values[place] for place in distinct.indices.to_pylist()]
