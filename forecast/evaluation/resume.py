"""Is everything asked of a checkpoint stored already? Then it is not fetched, and nothing that loads models is imported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from forecast.core.errors import StoreError
from forecast.core.hashing import content_hash
from forecast.core.records import CheckpointRequest
from forecast.evaluation.records import ResultStore, ScoringSettings, masked_settings, run_id_of
from forecast.scoring.requests import RenderedTask

_FACTS = ("family", "model", "step", "params", "params_non_embedding", "tokens", "flops")


@dataclass(frozen=True, kw_only=True)
class FinishedRuns:
    """Looks a checkpoint's runs up in the store by identity, tasks and settings alone."""

    store: ResultStore
    rendered: Sequence[RenderedTask]
    settings: ScoringSettings

    def find_pinned(self, request: CheckpointRequest) -> list[str]:
        """Return a pinned hub checkpoint's runs when all hold all items and the stored facts are the request's; else none."""
        commit = str(request.metadata.get("revision_sha") or "")
        if not commit:
            return []
        # The identity of a hub checkpoint: scoring.checkpoint_files.checkpoint_identity.
        rows = self._complete(content_hash(["hub", request.source, commit]))
        return [str(row["run_id"]) for row in rows] if all(_agrees(request, row) for row in rows) else []

    def find(self, checkpoint_id: str) -> list[str]:
        """Return a checkpoint's runs, in the order of the tasks, when all hold all items; else none."""
        return [str(row["run_id"]) for row in self._complete(checkpoint_id)]

    def _complete(self, checkpoint_id: str) -> list[dict[str, object]]:
        """Rows of `scores`, one per task. Whether a model is masked only its files say: both kinds of run are looked for."""
        kinds = [self.settings, masked_settings(self.settings)] if self.settings.backend == "native" else [self.settings]
        for settings in kinds:
            n_items = {
                run_id_of(checkpoint_id, task.record.task_id, settings): len(task.record.items) for task in self.rendered
            }
            rows = {str(row["run_id"]): row for row in self._closed_rows(list(n_items))}
            if {run_id: row["n_items"] for run_id, row in rows.items()} == n_items:
                return [rows[run_id] for run_id in n_items]
        return []

    def _closed_rows(self, run_ids: list[str]) -> list[dict[str, object]]:
        """Rows of the runs, or none where one was never closed: a session that was killed just before may still owe that."""
        listed = ", ".join(f"'{run_id}'" for run_id in run_ids)
        try:
            closed = list(self.store.query(f"SELECT run_id FROM runs WHERE status = 'complete' AND run_id IN ({listed})"))
            return self.store.score_rows(run_ids) if sum(map(len, closed)) == len(run_ids) else []
        except StoreError:
            # No results file yet; one that is damaged is reported when it is written to.
            return []


def _agrees(request: CheckpointRequest, row: dict[str, object]) -> bool:
    """Whether the store knows the numbers that the request brings: new ones must be registered."""
    asked = {name: getattr(request, name) for name in _FACTS}
    return all(value is None or value == "" or row.get(name) == value for name, value in asked.items())
