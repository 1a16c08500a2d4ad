"""Which tasks are scored together, so that a resumed evaluation cuts the same batches as one that was never interrupted.

Batches are cut from one plan over several tasks, and the last bits of a score depend on its batch. So every run remembers the
tasks that it was planned with (`planned_with`), and a resumed session plans the same ones again, finished tasks included;
only batches that hold a missing item are computed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from forecast.core.hashing import content_hash
from forecast.evaluation.lookup import look_up, sql_list
from forecast.evaluation.records import OpenedRun, ResultStore

PLANNED_WITH = "planned_with"
"""Name in a run's metadata: hash of the tasks that share its plan."""


def stored_plans(store: ResultStore, run_ids: Sequence[str]) -> dict[str, str]:
    """Return the plan of every run that the store knows; empty for runs of earlier versions, which kept none."""
    rows = look_up(store, f"SELECT run_id, metadata FROM run_records WHERE run_id IN ({sql_list(run_ids)})")
    return {str(row["run_id"]): str(json.loads(row["metadata"] or "{}").get(PLANNED_WITH) or "") for row in rows}


def plan_of(task_ids: Sequence[str]) -> str:
    """The name of the plan over some tasks."""
    return content_hash(["plan", sorted(task_ids)])


def choose_plans(asked: Mapping[str, str], stored: Mapping[str, str]) -> dict[str, str]:
    """Return the plan of every run asked for: the stored one, and for new runs the one that they make up.

    Args:
        asked: run id -> task id.
        stored: run id -> plan, of the runs that the store knows.
    """
    new = [run_id for run_id in asked if run_id not in stored]
    plan = plan_of([asked[run_id] for run_id in new])
    for begun in sorted(set(stored.values()) - {""}):
        members = [run_id for run_id in asked if stored.get(run_id) == begun]
        # A session that was killed while it registered its runs left some of its plan's tasks unknown.
        if members and new and plan_of([asked[run_id] for run_id in (*members, *new)]) == begun:
            plan = begun
    return {run_id: stored.get(run_id, plan) for run_id in asked}


def scoring_units(opened: Sequence[OpenedRun], plans: Mapping[str, str]) -> list[tuple[OpenedRun, ...]]:
    """Return the runs to plan together, plan by plan; a plan without a missing item is left out.

    Where the tasks asked for are not those of a stored plan (other tasks beside them, or a run of an earlier version), what is
    missing is planned by itself: the scores are as right, and their last bits may be others.
    """
    units = []
    for plan in dict.fromkeys(plans.values()):
        members = tuple(entry for entry in opened if plans[entry.run.run_id] == plan)
        missing = tuple(entry for entry in members if entry.is_missing)
        if missing:
            units.append(members if plan_of([entry.run.task_id for entry in members]) == plan else missing)
    return units
