"""`forecast references` from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

Command = Callable[..., int]


def test_references_are_listed_as_json(forecast: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert forecast("references", "--task", "mmlu", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"task", "family", "source", "runs", "min_flops", "max_flops", "metric", "num_fewshot", "licence"} <= set(rows[0])
    assert any(row["family"] == "Llama" and row["runs"] == 4 for row in rows)


def test_an_unknown_task_is_a_usage_error(forecast: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert forecast("references", "--task", "mlmu") == 2
    assert "did you mean 'mmlu'" in capsys.readouterr().err
