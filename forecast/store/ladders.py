"""Ladders from the view `observations`: one per family and task, of one definition each."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import duckdb

from forecast.core.errors import UsageError
from forecast.core.ladder_choice import ChosenLadder, ShotsRule, choose_ladders
from forecast.core.metrics import ACCURACY_METRICS
from forecast.core.nearest import require
from forecast.core.observation_rows import ALL_METRICS, ObservationRow
from forecast.store.item_matrices import attach_items
from forecast.store.locking import rows_of


@dataclass(frozen=True, kw_only=True)
class StoredTask:
    """What a results file holds of one family on one task with one number of shots."""

    family: str
    task: str
    num_fewshot: int | None
    has_accuracy: bool


@dataclass(frozen=True, kw_only=True)
class LadderQuery:
    """Which ladders are wanted; None means all."""

    tasks: Sequence[str] | None = None
    families: Sequence[str] | None = None
    num_fewshot: int | None = None
    choose_shots: ShotsRule | None = None
    """Decides instead of `num_fewshot`; without either, several numbers of shots are an error."""
    dtype: str | None = None
    with_items: bool | Collection[str] = False
    """Tasks whose items are wanted, or whether all are."""
    accuracies: bool = False
    """Whether measurements without any accuracy are out of the question."""


def read_ladders(connection: duckdb.DuckDBPyConnection, question: LadderQuery) -> list[ChosenLadder]:
    """Return the wanted ladders with their rows, items attached if asked for.

    Raises:
        UsageError: an unknown task or family, or several numbers of shots and none asked for.
    """
    _check_names(connection, "task", question.tasks)
    _check_names(connection, "family", question.families)
    rule = question.choose_shots or _strict_shots(question.num_fewshot)
    chosen = choose_ladders(_read(connection, question), rule, accuracies=question.accuracies)
    return [_with_items(connection, entry, question.with_items) for entry in chosen]


def _with_items(connection: duckdb.DuckDBPyConnection, entry: ChosenLadder, wanted: bool | Collection[str]) -> ChosenLadder:
    if wanted is False or (wanted is not True and entry.ladder.task not in wanted):
        return entry
    return replace(entry, ladder=attach_items(connection, entry.ladder, [row.run_id for row in entry.rows]))


def read_stored_tasks(connection: duckdb.DuckDBPyConnection) -> list[StoredTask]:
    """Return what there is to choose from, in the order of its names."""
    measured = " OR ".join(f"{name} IS NOT NULL" for name in ACCURACY_METRICS)
    connection.execute(
        f"""SELECT family, task, num_fewshot, bool_or({measured}) AS has_accuracy FROM observations
        GROUP BY family, task, num_fewshot ORDER BY family, task, num_fewshot NULLS FIRST"""
    )
    return [StoredTask(**row) for row in rows_of(connection)]


def _check_names(connection: duckdb.DuckDBPyConnection, column: str, wanted: Sequence[str] | None) -> None:
    if wanted is not None:
        known = connection.execute(f"SELECT DISTINCT {column} FROM observations").fetchall()
        require(column, wanted, {str(row[0]) for row in known})


_METRICS = ", ".join([*ALL_METRICS, *(f"{name}_sem" for name in ALL_METRICS)])


def _read(connection: duckdb.DuckDBPyConnection, question: LadderQuery) -> list[ObservationRow]:
    conditions = ["true"]
    parameters: dict[str, object] = {}
    for column, values in (("task", question.tasks), ("family", question.families)):
        if values is not None:
            conditions.append(f"{column} IN (SELECT unnest(${column}::VARCHAR[]))")
            parameters[column] = list(values)
    if question.dtype is not None:
        conditions.append("dtype = $dtype")
        parameters["dtype"] = question.dtype
    connection.execute(
        f"""SELECT source, definition, family, model, revision, step, task, num_fewshot, params, params_non_embedding,
            tokens, flops, flops_convention, is_final, n_items, chance, lr_fraction, {_METRICS}, run_id, item_limit, metadata
        FROM observations WHERE {" AND ".join(conditions)}
        ORDER BY family, task, model, step, run_id, source, tokens, flops""",
        parameters,
    )
    return [_stored(row) for row in rows_of(connection)]


def _stored(row: dict[str, Any]) -> ObservationRow:
    return ObservationRow(
        family=row["family"],
        model=row["model"],
        task=row["task"],
        metrics={name: row[name] for name in ALL_METRICS if row[name] is not None},
        sems={name: row[f"{name}_sem"] for name in ALL_METRICS if row[f"{name}_sem"] is not None},
        step=row["step"],
        params=row["params"],
        params_non_embedding=row["params_non_embedding"],
        tokens=row["tokens"],
        flops=row["flops"],
        flops_convention=row["flops_convention"],
        num_fewshot=row["num_fewshot"],
        revision=row["revision"],
        is_final=row["is_final"],
        n_items=row["n_items"],
        chance=row["chance"],
        lr_fraction=row["lr_fraction"],
        source=row["source"],
        # Two tables that somebody imported are two definitions, whatever they say of themselves.
        definition=row["definition"] or row["source"],
        metadata=json.loads(row["metadata"]) if row["metadata"] else {},
        item_limit=row["item_limit"],
        run_id=row["run_id"],
    )


def _strict_shots(num_fewshot: int | None) -> ShotsRule:
    """The rule of whoever reads the store directly; rows that do not state their shots count only where no row does."""

    def rule(family: str, task: str, runs: Mapping[int | None, int]) -> tuple[int | None, str] | None:
        known = sorted(count for count in runs if count is not None)
        if not known:
            return None, ""
        if num_fewshot is not None:
            return (num_fewshot, "") if num_fewshot in known else None
        if len(known) > 1:
            raise UsageError(
                f"{task} of {family} is stored with {', '.join(map(str, known))} shots",
                expected="one number of examples in the prompt",
                remedy="choose it with `num_fewshot=`",
            )
        return known[0], ""

    return rule
