"""Defaults from a settings file: found from below, overruled by the command line, checked as strictly as options are."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from forecast.core.errors import InputError
from forecast.core.settings_file import find_settings

Command = Callable[..., int]
Shown = Callable[..., dict[str, object]]


@pytest.fixture(name="home")
def home_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    monkeypatch.delenv("FORECAST_DB", raising=False)
    return tmp_path


@pytest.fixture(name="shown")
def shown_fixture(forecast: Command, capsys: pytest.CaptureFixture[str]) -> Shown:
    def show(command: str) -> dict[str, object]:
        assert forecast("config", "--json") == 0
        found = json.loads(capsys.readouterr().out)["defaults"]
        return {entry["option"]: entry["value"] for entry in found if entry["command"] == command}

    return show


def test_the_nearest_file_counts_and_paths_are_relative_to_it(home: Path, shown: Shown) -> None:
    (home / "pyproject.toml").write_text('[tool.forecast]\ndb = "far.duckdb"\n', encoding="utf-8")
    assert shown("fits") == {"--db": str(home / "far.duckdb")}
    (home / "below" / "pyproject.toml").write_text("[tool.other]\n", encoding="utf-8")
    assert shown("fits") == {"--db": str(home / "far.duckdb")}
    near = 'db = "near.duckdb"\nseed = 7\n[predict]\nlevel = 0.8\ntask = ["arc_easy", "sciq"]\nquiet = true\n'
    (home / "below" / "forecast.toml").write_text(near, encoding="utf-8")
    assert shown("fits") == {"--db": str(home / "below" / "near.duckdb")}
    assert shown("predict") == {
        "--db": str(home / "below" / "near.duckdb"),
        "--seed": "7",
        "--level": "0.8",
        "--task": "arc_easy,sciq",
        "--quiet": True,
    }


def test_the_command_line_and_the_environment_come_first(
    home: Path, forecast: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "forecast.toml").write_text('db = "file.duckdb"\n[sql]\nformat = "json"\n', encoding="utf-8")
    assert forecast("fits") == 1
    assert str(home / "file.duckdb") in capsys.readouterr().err
    assert forecast("fits", "--db", "line.duckdb") == 1
    assert "no line.duckdb" in capsys.readouterr().err
    monkeypatch.setenv("FORECAST_DB", "env.duckdb")
    assert forecast("fits") == 1
    assert "no env.duckdb" in capsys.readouterr().err
    monkeypatch.setenv("FORECAST_CONFIG", "none")
    monkeypatch.delenv("FORECAST_DB")
    assert forecast("fits") == 1
    assert "no forecast.duckdb" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sed = 3", "no command has the option 'sed'.*did you mean 'seed'"),
        ("[predct]\nlevel = 0.5", "no command 'predct'.*did you mean 'predict'"),
        ("[fits]\nlevel = 0.5", r"\[fits\] has no option 'level'"),
        ("[predict]\nlevel = true", "level is True; expected a text or a number"),
        ("quiet = 1", "quiet is 1; expected true or false"),
        ('trust_remote_code = ["x"]', "cannot be set in a file; give --trust-remote-code on the command line"),
        ("[sql]\nwrite = true", "write cannot be set in a file"),
        ("db = ", "Invalid value"),
    ],
)
def test_mistakes_are_named_and_help_still_comes(
    home: Path, forecast: Command, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    (home / "forecast.toml").write_text(text, encoding="utf-8")
    assert forecast("fits") == 1
    error = capsys.readouterr().err
    assert str(home / "forecast.toml") in error
    assert len(error.splitlines()) == 1
    assert re.search(said, error)
    assert forecast("fits", "--help") == 0
    assert forecast("config") == 1
    capsys.readouterr()
    assert forecast("doctor", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert [check["name"] for check in found["checks"] if check["status"] == "failure"] == ["settings"]


def test_a_file_that_cannot_be_read_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORECAST_CONFIG", str(home / "missing.toml"))
    with pytest.raises(InputError, match=r"missing\.toml"):
        find_settings(home)
    monkeypatch.setenv("FORECAST_CONFIG", str(home))
    with pytest.raises(InputError, match="is a folder"):
        find_settings(home)


def test_doctor_says_what_is_there(home: Path, forecast: Command, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "forecast.toml").write_text('db = "r.duckdb"\n', encoding="utf-8")
    (home / "r.duckdb").write_bytes(b"not a database" * 100)
    assert forecast("doctor", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    states = {check["name"]: check["status"] for check in found["checks"]}
    assert (found["ok"], states["torch"], states["python"], states["results file"]) == (False, "ok", "ok", "failure")
    (home / "r.duckdb").unlink()
    assert forecast("doctor") == 0
    assert str(home / "r.duckdb") in capsys.readouterr().out
