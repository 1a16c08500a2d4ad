"""`forecast import` from the command line: counts on stdout, what is left out on stderr, exit codes, pure JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., int]

RESULTS = '{"results": {"arc": {"acc": 0.4, "f1": "N/A"}}, "versions": {}, "config": {"model_args": "pretrained=x/y"}}'


def test_a_changed_table_is_counted(forecast: Command, db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = Path("runs.csv")
    table.write_text(table.read_text().replace("0.5", "0.6") + "f,huge,t,1e10,2e11,0.7\n")
    assert forecast("import", "runs.csv", "--db", str(db)) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == "observations: 1 added, 1 replaced, 1 unchanged, 0 removed"
    assert "runs.csv was imported before and has changed" in captured.err
    assert forecast("import", "runs.csv", "--db", str(db), "--json", "--quiet") == 0
    captured = capsys.readouterr()
    (entry,) = json.loads(captured.out)["tables"]
    assert captured.err == ""
    assert (entry["rows"], entry["unchanged"], entry["same_as"]) == (3, 3, "")


def test_a_folder_with_a_broken_file_is_a_partial_result(
    forecast: Command, db: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("all").mkdir()
    Path("all/results_1.json").write_text(RESULTS)
    Path("all/results_2.json").write_text(RESULTS[:40])
    assert forecast("import", "all", "--db", str(db), "--json", "--quiet") == 3
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert report["left_out"] == ["results_1.json: arc: not kept are f1 (it is 'N/A')"]
    assert [entry["path"] for entry in report["failed"]] == ["all/results_2.json"]
    assert captured.err.startswith("error: 1 file(s) cannot be read, the others are imported: all/results_2.json")
    assert captured.err.count("\n") == 1
    assert forecast("import", "all", "--db", str(db)) == 3
    assert "1 unchanged" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "value", "code"),
    [(f"--{name}", value, 2) for name in ("params", "tokens", "flops") for value in ("nan", "inf", "-1", "1e308", "x")]
    + [("--tokens", "3e11", 0), ("--params", "1e7", 0), ("--flops", "1e19", 0), ("--step", "-1", 2)],
)
def test_numbers_of_the_checkpoint(
    forecast: Command, db: Path, capsys: pytest.CaptureFixture[str], option: str, value: str, code: int
) -> None:
    Path("results_1.json").write_text(RESULTS)
    assert forecast("import", "results_1.json", f"{option}={value}", "--db", str(db), "--quiet") == code


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "results_1.json", "samples_t_1.jsonl"])
def test_a_pipe_is_refused_at_once(forecast: Command, db: Path, error_line: Callable[[], str], name: str) -> None:
    os.mkfifo(name)
    if name.startswith("samples"):
        Path("results_1.json").write_text(RESULTS.replace("arc", "t"))
    assert forecast("import", name, "--db", str(db), "--quiet") == 1
    assert "is a named pipe" in error_line()
