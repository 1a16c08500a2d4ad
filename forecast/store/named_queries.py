"""The questions that the program itself asks of a results file, by name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class NamedQuery:
    """One query; `$name` in it is a parameter."""

    sql: str


FINISHED_RUNS = NamedQuery(
    sql="SELECT family, model, revision, step, task, num_fewshot FROM runs WHERE status = 'complete'",
)
"""Runs that answered all their items."""

RUN_STARTS = NamedQuery(sql="SELECT run_id, started_at FROM runs")

IMPORTED_RUNS = NamedQuery(
    sql="""SELECT checkpoint_id, task_id, dtype, backend, run_id FROM runs
        WHERE backend LIKE 'lm-eval:%' ORDER BY run_id""",
)
"""Answers, item by item, that other programs computed."""

IMPORTS_OF_SOURCE = NamedQuery(sql="FROM current_imports WHERE source = $source")
"""Observations that were imported from one kind of source."""

PROVENANCE = NamedQuery(
    sql="""SELECT family, task, num_fewshot AS shots, source, definition, count(DISTINCT model) AS models,
        count(*) AS checkpoints FROM observations GROUP BY ALL ORDER BY ALL""",
)
"""Where all that laws are fitted on came from."""
