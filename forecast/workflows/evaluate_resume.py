"""Is everything asked of a hub checkpoint stored already? Then it need not even be fetched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from forecast.core.errors import StoreError
from forecast.core.hashing import content_hash
from forecast.core.records import CheckpointRequest
from forecast.scoring.requests import RenderedTask
from forecast.workflows.evaluate_masked import masked_settings
from forecast.workflows.evaluate_records import (
    CheckpointFacts,
    ResultStore,
    ScoringSettings,
    describe_checkpoint,
    make_run,
)

_FACTS = ("family", "model", "step", "params", "params_non_embedding", "tokens", "flops")


@dataclass(frozen=True, kw_only=True)
class FinishedRuns:
    """Looks a pinned checkpoint's runs up in the store, without its files."""

    store: ResultStore
    rendered: Sequence[RenderedTask]
    settings: ScoringSettings

    def find(self, request: CheckpointRequest) -> list[str]:
        """Return the checkpoint's runs when all hold all items and the stored facts are those of the request; else none.

        Whether a model is masked only its files say, so both kinds of run are looked for.
        """
        commit = str(request.metadata.get("revision_sha") or "")
        if not commit:
            return []
        # The identity of a hub checkpoint: scoring.checkpoint_files.checkpoint_identity.
        facts = CheckpointFacts(checkpoint_id=content_hash(["hub", request.source, commit]))
        checkpoint = describe_checkpoint(request, None, facts)
        for settings in (self.settings, masked_settings(self.settings)):
            runs = {make_run(checkpoint, task.record, settings).run_id: len(task.record.items) for task in self.rendered}
            rows = self._rows(list(runs))
            if {str(row["run_id"]): row["n_items"] for row in rows} == runs and all(_agrees(request, row) for row in rows):
                return list(runs)
        return []

    def _rows(self, run_ids: list[str]) -> list[dict[str, object]]:
        try:
            return self.store.score_rows(run_ids)
        except StoreError:
            # No results file yet; one that is damaged is reported when it is written to.
            return []


def _agrees(request: CheckpointRequest, row: dict[str, object]) -> bool:
    """Whether the store knows the numbers that the request brings: new ones must be registered."""
    asked = {name: getattr(request, name) for name in _FACTS}
    return all(value is None or value == "" or row.get(name) == value for name, value in asked.items())
