"""Is everything asked of a checkpoint stored already? Then it is not fetched, and nothing that loads models is imported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from forecast.core.records import CheckpointRequest
from forecast.evaluation.lookup import look_up, sql_list
from forecast.evaluation.records import ResultStore, ScoringSettings, masked_settings, run_id_of, writes_answers
from forecast.scoring.checkpoint_files import hub_identity
from forecast.scoring.requests import RenderedTask

_FACTS = ("family", "model", "step", "params", "params_non_embedding", "tokens", "flops")


@dataclass(frozen=True, kw_only=True)
class FinishedRuns:
    """Looks a checkpoint's runs up in the store by identity, tasks and settings alone."""

    store: ResultStore
    settings: ScoringSettings

    def find_pinned(self, request: CheckpointRequest, tasks: Sequence[RenderedTask]) -> list[str]:
        """Return a pinned hub checkpoint's runs when all hold all items and the stored facts are the request's; else none."""
        commit = str(request.metadata.get("revision_sha") or "")
        if not commit:
            return []
        rows = self._complete(hub_identity(request.source, commit), tasks)
        return [str(row["run_id"]) for row in rows] if all(_agrees(request, row) for row in rows) else []

    def find(self, checkpoint_id: str, tasks: Sequence[RenderedTask]) -> list[str]:
        """Return a checkpoint's runs, in the order of the tasks, when all hold all items; else none."""
        return [str(row["run_id"]) for row in self._complete(checkpoint_id, tasks)]

    def _complete(self, checkpoint_id: str, tasks: Sequence[RenderedTask]) -> list[dict[str, Any]]:
        """The finished runs, one per task, with what is known of the checkpoint.

        Whether a model is masked only its files say: both kinds of run are looked for. A run that was never closed counts as
        unfinished: a session that was killed just before may still owe that.
        """
        native = self.settings.backend == "native"
        kinds = [self.settings, masked_settings(self.settings)] if native else [self.settings]
        expected = [
            {
                run_id_of(checkpoint_id, task.record.task_id, kind, answers=writes_answers(task, kind)): len(task.record.items)
                for task in tasks
            }
            for kind in kinds
        ]
        listed = sql_list(run_id for n_items in expected for run_id in n_items)
        facts = ", ".join(f"c.{name}" for name in _FACTS)
        rows = {
            str(row["run_id"]): row
            for row in look_up(
                self.store,
                f"SELECT r.run_id, s.n_items, {facts} FROM runs AS r LEFT JOIN checkpoints AS c USING (checkpoint_id) "
                f"JOIN (SELECT run_id, count(*) AS n_items FROM item_scores WHERE run_id IN ({listed}) GROUP BY run_id) AS s "
                f"USING (run_id) WHERE r.status = 'complete' AND r.run_id IN ({listed})",
            )
        }
        for n_items in expected:
            if all(run_id in rows and rows[run_id]["n_items"] == n for run_id, n in n_items.items()):
                return [rows[run_id] for run_id in n_items]
        return []


def _agrees(request: CheckpointRequest, row: dict[str, object]) -> bool:
    """Whether the store knows the numbers that the request brings: new ones must be registered."""
    asked = {name: getattr(request, name) for name in _FACTS}
    return all(value is None or value == "" or row.get(name) == value for name, value in asked.items())
