"""The commands about results, as a user meets them: exit codes, pure output, one-line errors."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from forecast.api.database import example_queries
from forecast.store import Store

Command = Callable[..., int]


def test_formats_hold_the_same_rows(forecast: Command, db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    query = "SELECT model, acc, tokens FROM observations ORDER BY acc"
    assert forecast("sql", query, "--db", str(db), "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows == [{"model": "small", "acc": 0.3, "tokens": 2e9}, {"model": "large", "acc": 0.5, "tokens": 2e10}]
    assert forecast("sql", query, "--db", str(db), "--format", "csv") == 0
    assert capsys.readouterr().out == "model,acc,tokens\nsmall,0.3,2000000000.0\nlarge,0.5,20000000000.0\n"
    assert forecast("sql", query, "--db", str(db), "--format", "parquet", "--output", "out.parquet") == 0
    assert pq.read_table("out.parquet").to_pylist() == rows
    assert forecast("sql", query, "--db", str(db)) == 0
    assert capsys.readouterr().out.splitlines()[2].split() == ["small", "0.3", "2e+09"]


def test_a_query_comes_from_a_file_or_from_stdin(
    forecast: Command, db: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    Path("count.sql").write_text("SELECT count(*) AS n FROM observations")
    for arguments in (("count.sql",), ("--file", "count.sql"), ("-",)):
        monkeypatch.setattr(sys, "stdin", io.StringIO("SELECT count(*) AS n FROM observations"))
        assert forecast("sql", *arguments, "--db", str(db), "--json") == 0
        assert json.loads(capsys.readouterr().out) == [{"n": 2}]


def test_an_empty_result_is_an_empty_list(forecast: Command, db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert forecast("sql", "SELECT 1 AS x WHERE false", "--db", str(db), "--json") == 0
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize(
    ("query", "code", "expected"),
    [
        ("SELECT famly FROM scores", 2, "did you mean 'family'"),
        ("FROM scoers", 2, "did you mean 'scores'"),
        ("SELEC 1", 2, "syntax error"),
        ("", 2, "empty"),
        ("DELETE FROM imported_observations", 2, "--write"),
        ("COPY scores TO 'x.csv'", 2, "--write"),
        ("ATTACH 'x.duckdb'", 2, "--write"),
    ],
)
def test_a_wrong_query_is_one_line(
    forecast: Command, db: Path, capsys: pytest.CaptureFixture[str], query: str, code: int, expected: str
) -> None:
    assert forecast("sql", query, "--db", str(db)) == code
    captured = capsys.readouterr()
    assert expected in captured.err
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert not Path("x.csv").exists()


def test_changes_need_write_and_are_all_or_nothing(forecast: Command, db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert forecast("sql", "CREATE TABLE mine AS SELECT 1 AS a", "--db", str(db), "--write") == 0
    assert forecast("sql", "INSERT INTO mine VALUES (2); INSERT INTO mine VALUES ('x')", "--db", str(db), "--write") == 2
    capsys.readouterr()
    assert forecast("sql", "SELECT count(*) AS n FROM mine", "--db", str(db), "--json") == 0
    assert json.loads(capsys.readouterr().out) == [{"n": 1}]


def test_every_example_is_listed_and_runs(forecast: Command, db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert forecast("sql", "--examples") == 0
    listing = capsys.readouterr().out
    examples = example_queries()
    assert len(examples) >= 10
    for example in examples:
        assert example.name in listing
        assert forecast("sql", "--example", example.name, "--db", str(db), "--json") == 0
        json.loads(capsys.readouterr().out)
    assert forecast("sql", "--example", "none-such") == 2


def test_missing_foreign_and_newer_files_are_one_line(forecast: Command, db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import duckdb

    assert forecast("sql", "SELECT 1", "--db", "none.duckdb") == 1
    assert "no results file none.duckdb" in capsys.readouterr().err
    assert not Path("none.duckdb").exists()
    Path("text.duckdb").write_text("not a database at all, only text" * 500)
    assert forecast("sql", "SELECT 1", "--db", "text.duckdb") == 1
    assert "is not a DuckDB file" in capsys.readouterr().err
    with duckdb.connect("other.duckdb") as connection:
        connection.execute("CREATE TABLE theirs AS SELECT 1 AS a")
    assert forecast("import", "runs.csv", "--db", "other.duckdb") == 1
    assert "other tables (theirs)" in capsys.readouterr().err
    list(Store(db).execute("UPDATE schema_migrations SET version = 99"))
    assert forecast("sql", "SELECT 1", "--db", str(db)) == 1
    assert "schema version 99; expected at most" in capsys.readouterr().err


def test_info_check_compact_and_merge(forecast: Command, db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert forecast("db", "info", "--db", str(db), "--json") == 0
    assert json.loads(capsys.readouterr().out)["imported_observations"] == 2
    assert forecast("db", "check", "--db", str(db), "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True, "problems": []}
    assert forecast("db", "compact", "--db", str(db)) == 0
    assert forecast("db", "merge", "joined.duckdb", str(db)) == 0
    assert forecast("db", "merge", "joined.duckdb", str(db)) == 0
    assert Store(Path("joined.duckdb")).info().imported_observations == 2
    assert forecast("db", "merge", str(db), str(db)) == 2
    list(Store(db).execute("UPDATE imported_observations SET acc = 0.9 WHERE model = 'small'"))
    capsys.readouterr()
    assert forecast("db", "check", "--db", str(db)) == 1
    assert "1 observations whose hash is wrong" in capsys.readouterr().out


def test_export_of_nothing_and_into_a_used_folder(forecast: Command, db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert forecast("export", "scores.csv", "--format", "csv", "--db", str(db)) == 1
    assert "nothing is stored yet" in capsys.readouterr().err
    Path("used").mkdir()
    Path("used/file").write_text("x")
    assert forecast("export", "used", "--db", str(db)) == 1
    assert "is not empty" in capsys.readouterr().err
    assert forecast("export", "x", "--format", "excel", "--db", str(db)) == 2
