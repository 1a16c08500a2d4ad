"""Where observations come from: a results file, or a CSV or Parquet table. Both answer the same two questions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from forecast.core.errors import InputError, UsageError
from forecast.core.ladder_choice import ChosenLadder, ShotsRule, choose_ladders, has_accuracy
from forecast.core.observation_rows import Notice, ObservationRow
from forecast.importers.table_blocks import Table
from forecast.importers.tables import is_table, read_table
from forecast.observations.plain_rows import as_number, plain_rows

if TYPE_CHECKING:
    from forecast.store import Store


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a source holds of one family on one task with one number of shots."""

    family: str
    task: str
    num_fewshot: int | None
    has_accuracy: bool


class Source(Protocol):
    """Anything that ladders can be read from."""

    @property
    def path(self) -> Path:
        """The file."""
        ...

    def measured(self) -> Sequence[Measured]:
        """Return what there is to choose from."""
        ...

    def ladders(
        self, family: str, tasks: Sequence[str], shots_rule: ShotsRule, *, accuracies: bool, items_of: Collection[str]
    ) -> list[ChosenLadder]:
        """Return at most one ladder per task; of `items_of` with what was answered item by item, where that is stored."""
        ...


class TableSource:
    """Rows of a table of observations."""

    def __init__(self, path: Path, rows: Sequence[ObservationRow]) -> None:
        """Take the rows that may be meant."""
        self.path = path
        self._rows = rows

    def measured(self) -> Sequence[Measured]:
        """Return what there is to choose from."""
        found: dict[tuple[str, str, int | None], bool] = {}
        for row in self._rows:
            key = (row.family, row.task, row.num_fewshot)
            found[key] = found.get(key, False) or has_accuracy(row)
        return [
            Measured(family=family, task=task, num_fewshot=count, has_accuracy=known)
            for (family, task, count), known in found.items()
        ]

    def ladders(
        self, family: str, tasks: Sequence[str], shots_rule: ShotsRule, *, accuracies: bool, items_of: Collection[str]
    ) -> list[ChosenLadder]:
        """Return at most one ladder per task; a table has no items."""
        wanted = set(tasks)
        rows = (row for row in self._rows if row.family == family and row.task in wanted)
        return choose_ladders(rows, shots_rule, accuracies=accuracies)


class StoreSource:
    """A results file."""

    def __init__(self, store: Store) -> None:
        """Take a store."""
        self._store = store

    @property
    def path(self) -> Path:
        """The file."""
        return self._store.path

    def measured(self) -> Sequence[Measured]:
        """Return what there is to choose from."""
        return [
            Measured(family=entry.family, task=entry.task, num_fewshot=entry.num_fewshot, has_accuracy=entry.has_accuracy)
            for entry in self._store.stored_tasks()
        ]

    def ladders(
        self, family: str, tasks: Sequence[str], shots_rule: ShotsRule, *, accuracies: bool, items_of: Collection[str]
    ) -> list[ChosenLadder]:
        """Return at most one ladder per task, in one read."""
        from forecast.store.ladders import LadderQuery

        question = LadderQuery(
            tasks=list(tasks), families=[family], choose_shots=shots_rule, with_items=items_of, accuracies=accuracies
        )
        return self._store.chosen_ladders(question)


def check_exists(path: Path) -> None:
    """Check that there is a file.

    Raises:
        InputError: there is none.
    """
    if not path.exists():
        raise InputError(
            f"there is no {path}",
            expected="a results file, or a CSV or Parquet table of observations",
            remedy="check the path, or run `forecast eval` first",
        )


def open_source(
    path: Path, *, notice: Notice, where: Mapping[str, str] | None = None, partial: bool = False, table: Table | None = None
) -> Source:
    """Open a file of observations.

    Args:
        path: results file or table.
        notice: takes what the user should read of a table.
        where: column -> value that a table's rows must have.
        partial: whether a table may lack what an observation table needs beside family, model and task; whoever says so
            checks the columns it uses (`plain_rows.check_used`).
        table: the cells, where they have been read already.

    Raises:
        InputError: there is no such file, or it is malformed.
        UsageError: no row is as `where` says, or a results file is asked with `where`.
    """
    check_exists(path)
    if not is_table(path):
        from forecast.store import Store

        if where:
            raise UsageError(
                "`where=` filters tables, not results files", remedy="use `task=`, `family=`, or export with forecast sql"
            )
        return StoreSource(Store(path))
    from forecast.importers import read_observations

    rows: Sequence[ObservationRow]
    try:
        rows = read_observations(path, notice=notice)
    except InputError as error:
        if not partial:
            raise
        notice(f"{path.name} is read as plain columns, for it is not a whole observation table: {error.found}")
        rows = plain_rows(table or read_table(path))
    if where:
        rows = [row for row in rows if all(_matches(row, name, value, path) for name, value in where.items())]
        if not rows:
            raise UsageError(f"no row of {path} has " + " and ".join(f"{name}={value}" for name, value in where.items()))
    return TableSource(path, rows)


def _matches(row: ObservationRow, name: str, value: str, source: Path) -> bool:
    if hasattr(row, name):
        found: object = getattr(row, name)
    elif name in row.metadata:
        found = row.metadata[name]
    elif name in row.metrics:
        found = row.metrics[name]
    else:
        raise UsageError(f"{source} has no column '{name}'", expected="a column of the table in `where=`")
    number, wanted = as_number(found), as_number(value)
    if number is not None and wanted is not None:
        return number == wanted
    return str(found).strip().lower() == value.strip().lower()
