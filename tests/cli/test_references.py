"""`forecast references` from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

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


def test_the_back_test_across_families_prints_json(
    forecast: Command, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert forecast("backtest", "--across", "families", "--family", "Yi", "--task", "mmlu", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert {score["runs_fitted"] for score in report["scores"]} == {"1"}
    assert report["records"][0]["family"] == "Yi"


@pytest.mark.parametrize("arguments", [("--across", "tasks"), ("--across", "families", "--method", "direct")])
def test_what_across_does_not_mean_is_refused(forecast: Command, arguments: tuple[str, ...]) -> None:
    assert forecast("backtest", *arguments) == 2


def test_predict_names_its_references_in_json(
    forecast: Command, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    table = tmp_path / "t.csv"
    table.write_text("family,model,task,params,tokens,acc,chance\nmine,a,mmlu,1e9,1e12,0.26,0.25\n", encoding="utf-8")
    assert forecast("predict", "--table", str(table), "--task", "mmlu", "--flops", "1e23", "--json") == 0
    made = json.loads(capsys.readouterr().out)
    assert "Llama" in made["references"]
    assert made["without_references"] is None
    assert forecast("predict", "--table", str(table), "--task", "mmlu", "--flops", "1e23", "--reference", "none") == 1
