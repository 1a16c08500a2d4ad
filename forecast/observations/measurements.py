"""Rows that a law is fitted on: one family on one task from a results file or a table, as named columns of one convention."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from forecast.core.errors import InputError, UsageError
from forecast.core.observation_rows import ObservationRow, build_ladder
from forecast.core.observations import FloatArray, Ladder
from forecast.importers.tables import is_table, read_table
from forecast.observations.ladders import shots_rule
from forecast.observations.measures import by_rule, choose_shots
from forecast.observations.plain_rows import as_number, plain_rows
from forecast.observations.task_groups import checkpoint_rows, members_of, stored_members, union_of

SAME_CONVENTION = 0.03
"""C / (6 N D) within this of 1 counts as 6 N D."""
_COUNTS = ("params", "params_non_embedding")

Notice = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which rows are meant."""

    family: str | None = None
    task: str | None = None
    where: Mapping[str, str] = field(default_factory=dict)
    """Column -> value that a row must have."""
    finals_only: bool = True
    """Only decayed ends of runs, where rows say which those are."""
    num_fewshot: int | None = None


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
            close = difflib.get_close_matches(name, list(self.columns), n=1)
            hint = f"did you mean '{close[0]}'?" if close else ""
            raise UsageError(f"{self.source} has no column '{name}'", expected=", ".join(sorted(self.columns)), remedy=hint)
        return self.columns[name]

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
    if not source.exists():
        raise InputError(f"there is no {source}", expected="a results file or a CSV or Parquet table", remedy="check the path")
    if not is_table(source):
        return _from_store(source, selection, notice)
    table = read_table(source)
    if {"model", "task"} <= set(table.columns) and "family" in table.columns:
        from forecast.importers import read_observations

        try:
            rows = read_observations(source, notice=notice)
        except InputError as error:
            if not partial:
                raise
            notice(f"{source.name} is read as plain columns, for it is not a whole observation table: {error.found}")
            rows = plain_rows(table)
        return _from_rows(source, rows, selection, notice)
    return _from_plain(source, table.columns, table.rows, selection)


def _choose(kind: str, wanted: str | None, present: Sequence[str], source: Path) -> str:
    names = sorted(set(present))
    if wanted is None:
        if len(names) == 1:
            return names[0]
        shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        raise UsageError(f"{source} holds {len(names)} {kind} names ({shown})", remedy=f"choose one with --{kind}")
    if wanted not in names:
        close = difflib.get_close_matches(wanted, names, n=3, cutoff=0.4)
        hint = "did you mean " + " or ".join(f"'{name}'" for name in close) + "?" if close else ""
        raise UsageError(f"{source} has no {kind} '{wanted}'", remedy=hint)
    return wanted


def _from_rows(source: Path, rows: list[ObservationRow], selection: Selection, notice: Notice) -> Measurements:
    rows = [row for row in rows if all(_matches(row, name, value, source) for name, value in selection.where.items())]
    if not rows:
        raise UsageError(f"no row of {source} has " + " and ".join(f"{k}={v}" for k, v in selection.where.items()))
    family = _choose("family", selection.family, [row.family for row in rows], source)
    rows = [row for row in rows if row.family == family]
    tasks = {row.task for row in rows}
    members = members_of(selection.task, tasks) if selection.task else ()
    if len(members) < 2:
        members = (_choose("task", members[0] if members else None, sorted(tasks), source),)
    parts = [_one_task([row for row in rows if row.task == name], selection, notice) for name in members]
    ladder = union_of(selection.task or members[0], [part for part, _rows in parts], notice)
    extras = [_extra_columns(_rows_of(ladder, part, own)) for part, own in parts]
    columns = _ladder_columns(ladder)
    for name, column in extras[0].items():
        # Of a group, what is the same on every task says something of the checkpoint.
        if all(name in other and np.array_equal(other[name], column, equal_nan=True) for other in extras[1:]):
            columns[name] = column if name in _COUNTS else columns.get(name, column)
    return _finish(source, ladder, columns, members, selection, notice)


def _one_task(rows: list[ObservationRow], selection: Selection, notice: Notice) -> tuple[Ladder, list[ObservationRow]]:
    """Build one task's ladder of rows that were measured alike; return the rows in its order, too."""
    family, task = rows[0].family, rows[0].task
    runs: dict[int | None, set[str]] = {}
    for row in rows:
        runs.setdefault(row.num_fewshot, set()).add(row.model)
    choice = choose_shots(task, {count: len(models) for count, models in runs.items()}, selection.num_fewshot)
    if choice is None:
        raise UsageError(
            f"{family} has no results on {task} with {selection.num_fewshot} shots",
            expected=f"shots that were measured: {', '.join(sorted(map(str, runs)))}",
        )
    if choice.note:
        notice(choice.note)
    rows = [row for row in rows if row.num_fewshot == choice.num_fewshot]
    conventions = {row.flops_convention for row in rows if row.flops is not None}
    if len(conventions) > 1:
        raise InputError(
            f"{family} on {task}: FLOPs of {len(conventions)} conventions ({', '.join(sorted(map(str, conventions)))})",
            expected="one convention: numbers of two cannot be compared",
            remedy="keep one with `where=` flops_convention=NAME",
        )
    ladder, order = build_ladder(rows, notice=notice)
    return ladder, [rows[index] for index in order]


def _rows_of(ladder: Ladder, part: Ladder, rows: list[ObservationRow]) -> list[ObservationRow]:
    """Put a task's rows in the order of its group's ladder."""
    if ladder is part:
        return rows
    found = checkpoint_rows(part)
    return [rows[found[key]] for key in checkpoint_rows(ladder)]


def _extra_columns(rows: list[ObservationRow]) -> dict[str, FloatArray]:
    """Both parameter counts, and what else the table says in numbers."""
    columns = {name: _numbers([getattr(row, name) for row in rows]) for name in _COUNTS}
    for name in sorted({name for row in rows for name in row.metadata}):
        numbers = [as_number(row.metadata.get(name)) for row in rows]
        if any(number is not None for number in numbers):
            columns.setdefault(name, _numbers(numbers))
    return columns


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


def _from_store(source: Path, selection: Selection, notice: Notice) -> Measurements:
    from forecast.store import Store

    if selection.where:
        raise UsageError(
            "`where=` filters tables, not results files", remedy="use `task=`, `family=`, or export with forecast sql"
        )
    store = Store(source)
    families = [selection.family] if selection.family else None
    names = stored_members(store, [selection.task], families) if selection.task else None
    ladders = store.ladders(tasks=names, families=families, choose_shots=shots_rule(selection.num_fewshot))
    if not ladders:
        raise InputError(
            f"{source} holds no results for this choice", remedy="see `forecast tasks --db` and `forecast families`"
        )
    family = _choose("family", selection.family, [ladder.family for ladder in ladders], source)
    by_task = {ladder.task: ladder for ladder in ladders if ladder.family == family}
    members = (
        stored_members(store, [selection.task], [family]) if selection.task else [_choose("task", None, list(by_task), source)]
    )
    lacking = [name for name in members if name not in by_task]
    if lacking:
        raise UsageError(
            f"{family} has no results on {', '.join(lacking[:4])} with {selection.num_fewshot} shots",
            expected=f"all {len(members)} stored tasks of '{selection.task}'",
            remedy="choose `num_fewshot=`, or name single tasks",
        )
    ladder = union_of(selection.task or members[0], [by_task[name] for name in members], notice)
    return _finish(source, ladder, _ladder_columns(ladder), members, selection, notice)


def _from_plain(source: Path, names: Sequence[str], rows: Sequence[Sequence[str]], selection: Selection) -> Measurements:
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
    columns = {}
    for name, position in index.items():
        numbers = [as_number(row[position]) for row in rows]
        if any(number is not None for number in numbers):
            columns[name] = _numbers(numbers)
    runs = [row[index["model"]] if "model" in index else str(number) for number, row in enumerate(rows, start=1)]
    return Measurements(
        source=str(source), family="", task="", runs=tuple(runs), columns=_with_derived(columns), flops_convention="published"
    )


def _ladder_columns(ladder: Ladder) -> dict[str, FloatArray]:
    name = "params" if ladder.params_kind == "total" else "params_non_embedding"
    columns = {name: ladder.params, "tokens": ladder.tokens, "flops": ladder.flops, "step": ladder.step, **ladder.metrics}
    columns |= {f"{metric}_sem": values for metric, values in ladder.sems.items()}
    if ladder.n_items is not None:
        columns["n_items"] = ladder.n_items
    return columns


def _finish(
    source: Path,
    ladder: Ladder,
    columns: dict[str, FloatArray],
    members: Sequence[str],
    selection: Selection,
    notice: Notice,
) -> Measurements:
    for note in ladder.notes:
        notice(note)
    chosen = by_rule(replace(ladder, notes=()))
    found = Measurements(
        source=str(source),
        family=ladder.family,
        num_fewshot=chosen.num_fewshot,
        task=ladder.task,
        runs=ladder.model,
        columns=_with_derived(columns),
        flops_convention=ladder.flops_convention,
        chance=chosen.chance,
        chance_notes=chosen.notes,
        members=tuple(members),
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
    for name in ("acc", "acc_norm", "acc_bytes"):
        if name in columns:
            columns["error" + name.removeprefix("acc")] = 1.0 - columns[name]
    return columns


def _numbers(values: Sequence[float | None]) -> FloatArray:
    return np.array([np.nan if value is None else float(value) for value in values], dtype=np.float64)
