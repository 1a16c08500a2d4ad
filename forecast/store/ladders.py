"""Ladders from the view `observations`: one per family and task, of one definition each."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import duckdb
import numpy as np

from forecast.core.errors import UsageError
from forecast.core.observation_rows import ALL_METRICS, Notice, ObservationRow, build_ladder
from forecast.core.observations import Ladder
from forecast.store.item_matrices import attach_items
from forecast.store.locking import rows_of

ShotsRule = Callable[[str, Mapping[int | None, int]], tuple[int | None, str] | None]
"""Task, and number of shots -> training runs measured with it; gives the number meant with a note on it, None for none."""


@dataclass(frozen=True, kw_only=True)
class LadderQuery:
    """Which ladders are wanted; None means all."""

    tasks: Sequence[str] | None = None
    families: Sequence[str] | None = None
    num_fewshot: int | None = None
    choose_shots: ShotsRule | None = None
    """Decides instead of `num_fewshot`; without either, several numbers of shots are an error."""
    dtype: str | None = None
    with_items: bool = False


@dataclass(frozen=True, kw_only=True)
class StoredObservation:
    """A row of the view with what decides among definitions."""

    row: ObservationRow
    item_limit: int | None
    run_id: str | None
    """None for an imported row: it has no items."""


def read_ladders(connection: duckdb.DuckDBPyConnection, question: LadderQuery, notice: Notice | None) -> list[Ladder]:
    """Return the wanted ladders, items attached if asked for.

    Raises:
        UsageError: an unknown task or family, or several numbers of shots and none asked for.
    """
    say = notice or (lambda _text: None)
    _check_names(connection, "task", question.tasks)
    _check_names(connection, "family", question.families)
    groups: dict[tuple[str, str], list[StoredObservation]] = {}
    for entry in _read(connection, question):
        groups.setdefault((entry.row.family, entry.row.task), []).append(entry)
    ladders: list[Ladder] = []
    for key in sorted(groups):
        notes: list[str] = []
        entries = _with_shots(groups[key], question, notes.append)
        if entries:
            chosen = _one_definition(entries, notes.append)
            for note in notes:
                say(note)
            ladder, order = build_ladder([entry.row for entry in chosen], notice=notice)
            ladder = replace(ladder, notes=(*notes, *ladder.notes))
            run_ids = [chosen[position].run_id for position in order]
            ladders.append(attach_items(connection, ladder, run_ids) if question.with_items else ladder)
    return ladders


def _check_names(connection: duckdb.DuckDBPyConnection, column: str, wanted: Sequence[str] | None) -> None:
    if wanted is None:
        return
    known = sorted(str(row[0]) for row in connection.execute(f"SELECT DISTINCT {column} FROM observations").fetchall())
    for name in wanted:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
            listed = ", ".join(close or known[:10]) or "nothing is stored completely yet"
            raise UsageError(f"no complete results for {column} {name!r}", expected=f"one of: {listed}")


_METRICS = ", ".join([*ALL_METRICS, *(f"{name}_sem" for name in ALL_METRICS)])


def _read(connection: duckdb.DuckDBPyConnection, question: LadderQuery) -> list[StoredObservation]:
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


def _stored(row: dict[str, Any]) -> StoredObservation:
    return StoredObservation(
        row=ObservationRow(
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
        ),
        item_limit=row["item_limit"],
        run_id=row["run_id"],
    )


def _with_shots(entries: list[StoredObservation], question: LadderQuery, say: Notice) -> list[StoredObservation]:
    """Keep one number of shots; rows that do not state theirs count only where no row does."""
    num_fewshot = question.num_fewshot
    if question.choose_shots is not None:
        runs: dict[int | None, set[str]] = {}
        for entry in entries:
            runs.setdefault(entry.row.num_fewshot, set()).add(entry.row.model)
        choice = question.choose_shots(entries[0].row.task, {count: len(models) for count, models in runs.items()})
        if choice is None:
            return []
        if choice[1]:
            say(choice[1])
        return [entry for entry in entries if entry.row.num_fewshot == choice[0]]
    shots = {entry.row.num_fewshot for entry in entries} - {None}
    if num_fewshot is not None:
        wanted = num_fewshot if num_fewshot in shots else None
        return [entry for entry in entries if entry.row.num_fewshot == wanted] if wanted in shots or not shots else []
    if len(shots) > 1:
        row = entries[0].row
        raise UsageError(
            f"{row.task} of {row.family} is stored with {', '.join(str(count) for count in sorted(shots, key=str))} shots",
            expected="one number of examples in the prompt",
            remedy="choose it with `num_fewshot=`",
        )
    if shots:
        return [entry for entry in entries if entry.row.num_fewshot is not None]
    return entries


def _one_definition(entries: list[StoredObservation], say: Notice) -> list[StoredObservation]:
    """Keep the definition that covers most checkpoints; among equals own items, then most of them, then full precision."""
    variants: dict[str, list[StoredObservation]] = {}
    for entry in entries:
        variants.setdefault(entry.row.definition, []).append(entry)

    def rank(name: str) -> tuple[int, bool, bool, float, bool, str]:
        rows = variants[name]
        checkpoints = len({(entry.row.model, entry.row.step, entry.row.revision) for entry in rows})
        items = float(np.mean([entry.row.n_items or 0 for entry in rows]))
        derived, unlimited = rows[0].run_id is not None, rows[0].item_limit is None
        return checkpoints, derived, unlimited, items, "dtype=float32" in name, name

    best = max(variants, key=rank)
    if len(variants) > 1:
        row = entries[0].row
        others = "; ".join(f"{len(variants[name])} with {name}" for name in sorted(variants) if name != best)
        say(f"{row.family}, {row.task}: {len(variants[best])} results with {best} are used, not mixed with {others}")
    return variants[best]
