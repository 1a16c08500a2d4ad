"""Observation tables: somebody's measurements, one row per checkpoint and task, checked as a whole before any is used."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from forecast.core.errors import InputError
from forecast.core.nearest import did_you_mean
from forecast.core.observation_rows import Notice, ObservationRow, to_ladders
from forecast.core.progress import Progress
from forecast.importers.observation_cells import read_rows
from forecast.importers.observation_columns import ALIASES, KNOWN_COLUMNS, METRIC_COLUMNS, REQUIRED_COLUMNS
from forecast.importers.table_blocks import Block, Table
from forecast.importers.tables import read_table

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ObservationTable", "read_observation_table", "read_observations", "to_ladders"]

_LONG_BYTES = 1 << 22
"""Size in bytes from which a table gets a progress bar of its own."""


@dataclass(frozen=True, kw_only=True)
class ObservationTable:
    """A table that was read and checked."""

    path: Path
    source: str
    """What its rows name as where they came from: the file's resolved path."""
    batches: tuple[pa.RecordBatch, ...]
    """Its rows by `IDENTIFIED_COLUMNS`, every one once."""
    unmeasured: int
    """Rows that hold no measurement and were left out."""
    repeated: int
    """Rows that repeat another row exactly and were left out."""

    def __len__(self) -> int:
        """Number of rows."""
        return sum(batch.num_rows for batch in self.batches)

    def without_rows(self) -> ObservationTable:
        """Return what is to be said of a table whose rows are kept elsewhere."""
        return replace(self, batches=())


def read_observations(path: str | Path, *, notice: Notice | None = None) -> list[ObservationRow]:
    """Read a table of observations (CSV, CSV.gz or Parquet), all of it or nothing.

    Unknown columns are kept in `metadata` and named in a notice; so are rows that hold no measurement, which are left out.

    Raises:
        InputError: a required column is missing, or a cell is malformed, out of range or in another unit; names row and column.
    """
    from forecast.core.observation_tables import rows_of

    batches = list(read_observation_table(Path(path), notice=notice).batches)
    rows: list[ObservationRow] = []
    while batches:
        # One after another, so that a large table is not held twice.
        rows += rows_of(batches.pop(0))
    return rows


def read_observation_table(path: Path, *, notice: Notice | None = None, progress: Progress | None = None) -> ObservationTable:
    """Read a table of observations as `read_observations` does, by columns; a long one moves a bar of `progress`.

    Raises:
        InputError: as `read_observations`.
    """
    say = notice or (lambda _text: None)
    long = progress is not None and path.is_file() and path.stat().st_size >= _LONG_BYTES
    mebibytes = path.stat().st_size / 2**20 if long else 0.0
    with progress.stage(f"read {path.name}", mebibytes, "MiB") if long and progress else nullcontext() as stage:
        table = read_table(path, advance=None if stage is None else lambda amount: stage.advance(amount / 2**20))
    _check_header(table)
    unknown = [name for name in table.columns if name not in KNOWN_COLUMNS]
    if unknown:
        say(f"{path.name}: unknown columns kept as metadata: " + ", ".join(_with_hint(name) for name in unknown))
    source = str(path.resolve())
    batches = []
    seen: set[str] = set()
    measured = 0
    with progress.stage(f"check {path.name}", len(table), "rows") if long and progress else nullcontext() as stage:
        for block in table.blocks:
            batch = _measured(_read_block(table, block, unknown, source))
            measured += batch.num_rows
            batches.append(_without_repeats(batch, seen))
            if stage is not None:
                stage.advance(len(block))
    found = ObservationTable(
        path=path,
        source=source,
        batches=tuple(batch for batch in batches if batch.num_rows),
        unmeasured=len(table) - measured,
        repeated=measured - len(seen),
    )
    _say_what_is_odd(found, say)
    return found


def _say_what_is_odd(found: ObservationTable, say: Notice) -> None:
    name = found.path.name
    if found.unmeasured:
        say(f"{name}: {found.unmeasured} rows hold no measurement and are left out")
    if not len(found):
        raise InputError(f"{found.path}: no row holds a measurement", expected="a value of " + ", ".join(METRIC_COLUMNS))
    if found.repeated:
        say(f"{name}: {found.repeated} rows repeat another row exactly and count once")
    if contradictory := _contradictions(found.batches):
        say(
            f"{name}: {contradictory} rows contradict another row of the same checkpoint and task;"
            " all of them are kept, so remove the wrong ones"
        )


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
    hint = did_you_mean(name, sorted(KNOWN_COLUMNS), count=1, cutoff=0.8)
    return f"{name} ({hint})" if hint else name


def _read_block(table: Table, block: Block, unknown: Sequence[str], source: str) -> pa.RecordBatch:
    from forecast.core.observation_tables import batch_of_rows
    from forecast.importers.observation_blocks import read_block

    batch = read_block(table.columns, block, unknown, source)
    return batch_of_rows(read_rows(table, block, unknown, source)) if batch is None else batch


def _measured(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Keep the rows that hold a measurement."""
    import numpy as np

    known = [batch.column(name).is_valid().to_numpy(zero_copy_only=False) for name in METRIC_COLUMNS]
    found = np.logical_or.reduce(known)
    return batch if found.all() else batch.take(np.flatnonzero(found))


def _without_repeats(batch: pa.RecordBatch, seen: set[str]) -> pa.RecordBatch:
    """Add every row's identity, and keep the rows whose identity was not `seen` before."""
    import pyarrow as pa

    from forecast.core.observation_tables import IDENTIFIED_COLUMNS, observation_ids

    ids = observation_ids(batch)
    new = []
    for place, name in enumerate(ids):
        if name not in seen:
            seen.add(name)
            new.append(place)
    identified = pa.RecordBatch.from_arrays([pa.array(ids), *batch.columns], schema=IDENTIFIED_COLUMNS)
    return identified if len(new) == len(ids) else identified.take(pa.array(new, pa.int64()))


def _contradictions(batches: Sequence[pa.RecordBatch]) -> int:
    """Count rows beyond the first with the same checkpoint, task, shots, metadata and set of metrics."""
    import pyarrow as pa

    table = pa.Table.from_batches(batches)
    ignored = {"observation_id", "n_items", "source", "definition", *(f"{name}_sem" for name in METRIC_COLUMNS)}
    keys = [name for name in table.column_names if name not in ignored and table.column(name).null_count < len(table)]
    columns = {name: table.column(name).is_valid() if name in METRIC_COLUMNS else table.column(name) for name in keys}
    # Few columns tell most rows apart, and are quickly compared.
    for chosen in ([name for name in keys if name in _USUAL_KEYS], keys):
        distinct = pa.table({name: columns[name] for name in chosen}).group_by(chosen).aggregate([]).num_rows
        if distinct == len(table):
            break
    return int(len(table) - distinct)


_USUAL_KEYS = ("model", "task", "step", "tokens", "flops")
