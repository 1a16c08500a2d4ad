"""The view that laws read: one family on one task from a results file or a table, as named columns of one convention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from forecast.core.errors import UsageError
from forecast.core.ladder_choice import ChosenLadder
from forecast.core.metrics import ACCURACY_METRICS
from forecast.core.nearest import did_you_mean, listed
from forecast.core.observation_rows import Notice, ObservationRow
from forecast.core.observations import FloatArray, Ladder
from forecast.importers.tables import is_table, read_table
from forecast.observations.ladders import Chosen, Wanted, choose
from forecast.observations.plain_rows import as_number
from forecast.observations.sources import check_exists, open_source
from forecast.observations.task_groups import checkpoint_rows

__all__ = ["Measurements", "Notice", "Selection", "load_measurements"]

_COUNTS = ("params", "params_non_embedding")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which rows of one task are meant."""

    family: str | None = None
    task: str | None = None
    where: Mapping[str, str] = field(default_factory=dict)
    """Column -> value that a row must have."""
    finals_only: bool = True
    """Only decayed ends of runs, where rows say which those are."""
    num_fewshot: int | None = None

    @property
    def wanted(self) -> Wanted:
        """The ladder behind the rows."""
        tasks = None if self.task is None else [self.task]
        return Wanted(tasks=tasks, family=self.family, num_fewshot=self.num_fewshot, where=self.where)


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """Columns of equal length; NaN where a row has no number."""

    source: str
    family: str
    task: str
    runs: tuple[str, ...]
    """Training run of each row."""
    columns: Mapping[str, FloatArray]
    flops_convention: str
    num_fewshot: int | None = None
    """Shots of every row; None where unknown."""
    chance: float = float("nan")
    chance_notes: tuple[str, ...] = ()
    """Sentences for whoever uses accuracies: chance is unknown, or told in two ways."""
    members: tuple[str, ...] = ()
    """Stored tasks that `task` stands for: itself, or those of a group."""

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.runs)

    def column(self, name: str) -> FloatArray:
        """Return a column.

        Raises:
            UsageError: there is none of this name.
        """
        if name not in self.columns:
            raise UsageError(
                f"{self.source} has no column '{name}'",
                expected=", ".join(sorted(self.columns)),
                remedy=did_you_mean(name, self.columns),
            )
        return self.columns[name]

    def standard_errors(self, name: str) -> FloatArray:
        """Standard error of a column's numbers (rows,), as stated or by the binomial of an accuracy; NaN where unknown."""
        accuracy = "acc" + name.removeprefix("error") if name.startswith("error") else name
        stated = next((self.columns[f"{it}_sem"] for it in (name, accuracy) if f"{it}_sem" in self.columns), None)
        errors = np.full(len(self), np.nan) if stated is None else stated
        if accuracy in ACCURACY_METRICS and "n_items" in self.columns and name in self.columns:
            y, items = self.columns[name], self.columns["n_items"]
            with np.errstate(divide="ignore", invalid="ignore"):
                binomial = np.sqrt(np.clip(y * (1 - y), 0, None) / np.where(items > 0, items, np.nan))
            errors = np.where(np.isfinite(errors), errors, binomial)
        return errors

    def take(self, rows: Sequence[int] | FloatArray) -> Measurements:
        """Return some of the rows."""
        index = np.asarray(rows, dtype=np.intp)
        return replace(
            self,
            runs=tuple(self.runs[i] for i in index),
            columns={name: column[index] for name, column in self.columns.items()},
        )


def load_measurements(source: Path, selection: Selection, *, notice: Notice, partial: bool = False) -> Measurements:
    """Read the rows that are meant.

    A table with columns family, model and task is checked as an observation table; any other is taken as plain numbers.

    Args:
        source: results file or table.
        selection: which rows.
        notice: takes what the user should read.
        partial: whether a table that names families, models and tasks may lack the rest of an observation table; whoever
            says so checks the columns it uses (`plain_rows.check_used`).

    Raises:
        InputError: there is no such file, or it is malformed.
        UsageError: an unknown family or task, or several and none was chosen; an unknown column in `where`.
    """
    check_exists(source)
    table = read_table(source) if is_table(source) else None
    if table is not None and not {"family", "model", "task"} <= set(table.columns):
        return _from_plain(source, table.columns, table.rows, selection)
    opened = open_source(source, notice=notice, where=selection.where, partial=partial, table=table)
    found = choose(opened, selection.wanted, accuracies=False).asked
    if len(found) > 1:
        tasks = listed([entry.ladder.task for entry in found])
        raise UsageError(f"{source} holds {len(found)} tasks ({tasks})", remedy="name one with `task=`")
    return _view(source, found[0], selection, notice)


def _rows_of(ladder: Ladder, entry: ChosenLadder) -> Sequence[ObservationRow]:
    """Put a task's rows in the order of its group's ladder."""
    if ladder.task == entry.ladder.task:
        return entry.rows
    found = checkpoint_rows(entry.ladder)
    return [entry.rows[found[key]] for key in checkpoint_rows(ladder)]


def _extra_columns(rows: Sequence[ObservationRow]) -> dict[str, FloatArray]:
    """Both parameter counts, and what else the table says in numbers."""
    columns = {name: _numbers([getattr(row, name) for row in rows]) for name in _COUNTS}
    for name in sorted({name for row in rows for name in row.metadata}):
        numbers = [as_number(row.metadata.get(name)) for row in rows]
        if any(number is not None for number in numbers):
            columns.setdefault(name, _numbers(numbers))
    return columns


def _from_plain(source: Path, names: Sequence[str], rows: Sequence[Sequence[str]], selection: Selection) -> Measurements:
    from forecast.observations.plain_choice import add_flops, choose_plain

    index = {name: position for position, name in enumerate(names)}
    for name, value in selection.where.items():
        if name not in index:
            raise UsageError(f"{source} has no column '{name}'", expected=", ".join(names))
        wanted = as_number(value)
        rows = [
            row for row in rows if row[index[name]] == value or (wanted is not None and as_number(row[index[name]]) == wanted)
        ]
    if not rows:
        raise UsageError(f"no row of {source} is left by `where=`")
    kept = choose_plain(source, names, rows, family=selection.family, task=selection.task, num_fewshot=selection.num_fewshot)
    rows = kept.rows
    columns = {}
    for name, position in index.items():
        numbers = [as_number(row[position]) for row in rows]
        if any(number is not None for number in numbers):
            columns[name] = _numbers(numbers)
    runs = [row[index["model"]] if "model" in index else str(number) for number, row in enumerate(rows, start=1)]
    convention = add_flops(columns)
    return Measurements(
        source=str(source),
        family=kept.family,
        task=kept.task,
        num_fewshot=kept.num_fewshot,
        runs=tuple(runs),
        columns=_with_derived(columns),
        flops_convention=convention,
    )


def _ladder_columns(ladder: Ladder) -> dict[str, FloatArray]:
    name = "params" if ladder.params_kind == "total" else "params_non_embedding"
    columns = {name: ladder.params, "tokens": ladder.tokens, "flops": ladder.flops, "step": ladder.step, **ladder.metrics}
    columns |= {f"{metric}_sem": values for metric, values in ladder.sems.items()}
    if ladder.n_items is not None:
        columns["n_items"] = ladder.n_items
    return columns


def _view(source: Path, chosen: Chosen, selection: Selection, notice: Notice) -> Measurements:
    ladder = chosen.ladder
    for note in chosen.reading_notes:
        notice(note)
    columns = _ladder_columns(ladder)
    extras = [_extra_columns(_rows_of(ladder, entry)) for entry in chosen.members]
    for name, column in extras[0].items():
        # Of a group, what is the same on every task says something of the checkpoint.
        if all(name in other and np.array_equal(other[name], column, equal_nan=True) for other in extras[1:]):
            columns[name] = column if name in _COUNTS else columns.get(name, column)
    found = Measurements(
        source=str(source),
        family=ladder.family,
        num_fewshot=ladder.num_fewshot,
        task=ladder.task,
        runs=ladder.model,
        columns=_with_derived(columns),
        flops_convention=ladder.flops_convention,
        chance=ladder.chance,
        chance_notes=chosen.measure_notes,
        members=tuple(entry.ladder.task for entry in chosen.members),
    )
    if selection.finals_only and np.any(ladder.is_final):
        found = found.take(np.flatnonzero(ladder.is_final).tolist())
    return found


def _with_derived(columns: dict[str, FloatArray]) -> dict[str, FloatArray]:
    """Add what follows from other columns: tokens per parameter, errors of accuracies."""
    columns = {name: column for name, column in columns.items() if np.any(np.isfinite(column))}
    if "params" in columns and "tokens" in columns and "token_multiplier" not in columns:
        with np.errstate(over="ignore"):  # The law that uses it refuses what is not finite.
            columns["token_multiplier"] = columns["tokens"] / np.where(columns["params"] > 0, columns["params"], np.nan)
    for name in ACCURACY_METRICS:
        if name in columns:
            columns["error" + name.removeprefix("acc")] = 1.0 - columns[name]
    return columns


def _numbers(values: Sequence[float | None]) -> FloatArray:
    return np.array([np.nan if value is None else float(value) for value in values], dtype=np.float64)
