"""What a result is known by follows from its definition alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from forecast.core.records import CheckpointRequest
from forecast.evaluation import records
from forecast.evaluation.records import ScoringSettings, make_run, run_id_of
from forecast.evaluation.resume import FinishedRuns
from forecast.scoring.checkpoint_files import checkpoint_identity, hub_identity


def test_an_id_asks_neither_the_clock_nor_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ScoringSettings(dtype="float32", device="cpu")
    made = make_run("checkpoint", "task", settings, {"matmul_flops_per_second": 1e9})
    monkeypatch.setattr(records, "datetime", None)
    monkeypatch.setattr(os, "cpu_count", None)
    assert run_id_of("checkpoint", "task", settings) == made.run_id


def test_a_hub_checkpoint_is_looked_up_under_the_id_that_it_is_stored_by(tmp_path: Path) -> None:
    asked: list[str] = []

    class Listening(FinishedRuns):
        def _complete(self, checkpoint_id: str, tasks: object) -> list[dict[str, object]]:
            asked.append(checkpoint_id)
            return []

    request = CheckpointRequest(source="org/model", metadata={"revision_sha": "abc"})
    settings = ScoringSettings(dtype="float32", device="cpu")
    Listening(store=None, settings=settings).find_pinned(request, [])  # type: ignore[arg-type]
    assert asked == [hub_identity("org/model", "abc")] == [checkpoint_identity(tmp_path, "abc", "org/model")]
