"""The command line in this process, and a small results file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from forecast.cli import main

TABLE = "family,model,task,params,tokens,acc\nf,small,t,1e8,2e9,0.3\nf,large,t,1e9,2e10,0.5\n"

Command = Callable[..., int]


@pytest.fixture
def forecast(monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run the command line in this process and return its exit code."""

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["forecast", *arguments])
        try:
            main()
        except SystemExit as error:
            return int(error.code or 0)
        return 0

    return run


@pytest.fixture
def db(forecast: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A results file with the two rows of `runs.csv`, both in the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs.csv").write_text(TABLE)
    assert forecast("import", "runs.csv", "--db", "r.duckdb", "--quiet") == 0
    capsys.readouterr()
    return Path("r.duckdb")


@pytest.fixture
def error_line(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """Return the one line that a failed command wrote, having written nothing else."""

    def read() -> str:
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("error: ")
        assert captured.err.count("\n") == 1, captured.err
        return captured.err

    return read
