"""`forecast sql` as its user meets it: exact answers in every format, one line for every failure, and the right exit code."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from forecast.store import queries, schema

Command = Callable[..., int]


def ask(forecast: Command, capsys: pytest.CaptureFixture[str], sql: str, form: str = "json") -> str:
    assert forecast("sql", sql, "--db", "r.duckdb", "--format", form) == 0
    return capsys.readouterr().out


VALUES = {
    "sum(1)": "1",
    "170141183460469231731687303715884105727::HUGEINT": "170141183460469231731687303715884105727",
    "340282366920938463463374607431768211455::UHUGEINT": '"340282366920938463463374607431768211455"',
    "18446744073709551615::UBIGINT": "18446744073709551615",
    "9007199254740993": "9007199254740993",
    "1.10::DECIMAL(5, 2)": "1.10",
    "0.1::DECIMAL(38, 30)": "0.100000000000000000000000000000",
    "0.1::DOUBLE": "0.1",
    "'nan'::DOUBLE": "null",
    "'-inf'::FLOAT": "null",
    "[1.0, 'nan'::DOUBLE]": "[1.0, null]",
    "'\\x00\\xFF'::BLOB": '"\\\\x00\\\\xFF"',
    "INTERVAL '1 month 2 days 3.000001 s'": '"1 month 2 days 00:00:03.000001"',
    "TIMESTAMP '2020-01-01 00:00:00.123456'": '"2020-01-01 00:00:00.123456"',
    "'2020-01-01 00:00:00.123456789'::TIMESTAMP_NS": '"2020-01-01 00:00:00.123456789"',
    "'infinity'::TIMESTAMP": '"infinity"',
    "DATE '20000-01-01'": '"20000-01-01"',
    "DATE '0044-03-15 (BC)'": '"0044-03-15 (BC)"',
    "TIME '01:02:03'": '"01:02:03"',
    "{'a': 1::HUGEINT, 'b': [DATE '0044-03-15 (BC)', NULL], 'c \"d': 1.50::DECIMAL(3, 2)}": (
        '{"a": 1, "b": ["0044-03-15 (BC)", null], "c \\"d": 1.50}'
    ),
    "MAP {'k': DATE '2020-01-01'}": '[["k", "2020-01-01"]]',
    "'101'::BIT": '"101"',
    "'a'::ENUM ('a', 'b')": '"a"',
    "NULL": "null",
    "[]": "[]",
    "true": "true",
    "'é \n \"'": '"é \\n \\""',
}


def test_json_is_valid_and_exact(forecast: Command, db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sql = "SELECT " + ", ".join(f"{value} AS v{place}" for place, value in enumerate(VALUES))
    out = ask(forecast, capsys, sql)
    wanted = ", ".join(f'"v{place}": {text}' for place, text in enumerate(VALUES.values()))
    assert out == "[\n  {" + wanted + "}\n]\n"
    (row,) = json.loads(out, parse_float=Decimal, parse_constant=pytest.fail)
    assert row["v6"] == Decimal("0.1")


def test_what_json_lacks_is_said(
    forecast: Command, db: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    ask(forecast, capsys, "SELECT 1.5 AS a, NULL::DOUBLE AS b")
    assert caplog.messages == []
    for sql in ("SELECT 'inf'::DOUBLE AS a", "SELECT [{'a': 'nan'::FLOAT}] AS a"):
        ask(forecast, capsys, sql)
        assert "NaN and infinity are null here" in caplog.messages[-1]
    assert ask(forecast, capsys, "SELECT 'inf'::DOUBLE AS a", "csv") == "a\ninf\n"


def test_columns_of_one_name_are_all_there(
    forecast: Command, db: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    sql = "SELECT 1 AS a, 2 AS a, 3 AS A, 4 AS b, 5 AS a_1"
    names = ["a", "a_2", "A_3", "b", "a_1"]
    for form in ("json", "csv", "table", "parquet"):
        assert forecast("sql", sql, "--db", "r.duckdb", "--format", form, "--output", f"out.{form}") == 0
        assert "told apart by a number: a as a_2, A as A_3" in caplog.messages[-1]
    assert json.loads(Path("out.json").read_text()) == [dict(zip(names, [1, 2, 3, 4, 5], strict=True))]
    assert next(csv.reader(io.StringIO(Path("out.csv").read_text()))) == names
    assert Path("out.table").read_text().split()[:5] == names
    assert pq.read_table("out.parquet").column_names == names
    assert ask(forecast, capsys, "SELECT 1 AS a, 2 AS a WHERE false", "csv") == "a,a_1\n"


def test_markup_and_control_characters_are_shown_as_they_are(
    forecast: Command, db: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ask(forecast, capsys, """SELECT '[red]x[/red]' AS "[/red]", chr(27) || '[31m' AS "a\tb" """, "table")
    assert out.splitlines()[0].split() == ["[/red]", "a\\tb"]
    assert out.splitlines()[2].split() == ["[red]x[/red]", "\\x1b[31m"]


def test_show_tables_lists_what_is_promised_and_the_users_own(
    forecast: Command, db: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    promised = sorted(schema.PUBLIC_NAMES)
    for sql in ("SHOW TABLES", "show tables;", "/* which? */ SHOW -- all\nTABLES"):
        assert [row["name"] for row in json.loads(ask(forecast, capsys, sql))] == promised
    assert forecast("sql", "CREATE TABLE mine AS SELECT 1 AS a", "--db", "r.duckdb", "--write") == 0
    capsys.readouterr()
    assert [row["name"] for row in json.loads(ask(forecast, capsys, "SHOW TABLES"))] == sorted([*promised, "mine"])
    # The steps behind them stay within reach, by the names that they always had.
    for name in ("imported_observations", "run_records", "item_values", "current_imports", "schema_migrations"):
        assert json.loads(ask(forecast, capsys, f"SELECT count(*) AS n FROM {name}"))[0]["n"] >= 0
        assert f'"name": "{name}"' in ask(forecast, capsys, "SHOW ALL TABLES")


@pytest.mark.parametrize(
    ("sql", "code", "said"),
    [
        ("SELECT 'x'::INTEGER", 2, "Could not convert"),
        (
            "SELECT (CASE WHEN i < 200000 THEN i::VARCHAR ELSE 'x' END)::INTEGER AS a FROM range(300000) AS t(i)",
            2,
            "Could not convert",
        ),
        ("FROM read_text('runs.csv')", 2, "--read PATH"),
        ("SET log_query_path = 'x'", 2, "configuration has been locked"),
        ("EXPLAIN ANALYZE COPY (SELECT 1) TO 'x.csv'", 2, "COPY changes something"),
        ("UPDATE EXTENSIONS", 2, "UPDATE changes something"),
    ],
)
def test_a_mistake_in_a_query_is_its_own(
    forecast: Command, db: Path, capsys: pytest.CaptureFixture[str], sql: str, code: int, said: str
) -> None:
    assert forecast("sql", sql, "--db", "r.duckdb", "--format", "csv", "--output", "out.csv") == code
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert "cannot be written" not in err
    assert sorted(path.name for path in Path().iterdir()) == ["r.duckdb", "runs.csv"]


def test_read_opens_one_file(forecast: Command, db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sql = "SELECT count(*) AS n FROM observations AS o JOIN 'runs.csv' AS r USING (model)"
    assert forecast("sql", sql, "--db", "r.duckdb", "--json", "--read", "runs.csv") == 0
    assert json.loads(capsys.readouterr().out) == [{"n": 2}]
    assert forecast("sql", sql, "--db", "r.duckdb", "--json", "--read", "missing.csv") == 1


def test_too_little_memory_is_not_the_users_mistake(
    forecast: Command, db: Path, error_line: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forecast.store.locking.MEMORY_LIMIT", "40MiB")
    assert forecast("sql", "SELECT list(i) AS a FROM range(20000000) AS t(i)", "--db", "r.duckdb") == 1
    assert "not enough memory for this question" in error_line()


@pytest.mark.parametrize("size", [100, 4096, 12288, 274432])
@pytest.mark.parametrize(
    "command", [("sql", "FROM observations"), ("db", "check"), ("predict", "--task", "t", "--flops", "1e24")]
)
def test_a_file_that_was_cut_off_is_one_line(
    command: tuple[str, ...], size: int, forecast: Command, db: Path, error_line: Callable[[], str]
) -> None:
    os.truncate("r.duckdb", size)
    assert forecast(*command, "--db", "r.duckdb") == 1
    assert "r.duckdb is damaged or cut off" in error_line()


def test_what_is_not_a_results_file_is_named(forecast: Command, tmp_path: Path, error_line: Callable[[], str]) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    for name, said in {
        "folder": "is a folder",
        "empty": "is empty",
        "pipe": "is not a regular file",
        "dangling": "no results file",
        "missing": "no results file",
    }.items():
        for command in (("sql", "SELECT 1"), ("db", "info"), ("db", "check"), ("db", "compact")):
            assert forecast(*command, "--db", str(tmp_path / name)) == 1
            assert said in error_line()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "empty", "folder", "pipe"]


def test_a_results_file_is_never_replaced_by_an_answer(forecast: Command, db: Path, error_line: Callable[[], str]) -> None:
    before = db.read_bytes()
    Path("link.csv").symlink_to(db)
    for name in ("r.duckdb", "link.csv"):
        assert forecast("sql", "SELECT 1", "--db", str(db), "--output", name) == 1
        assert "is a DuckDB database" in error_line()
    assert db.read_bytes() == before


def test_output_through_a_link_and_never_in_place_of_a_device(
    forecast: Command, db: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("real.csv").write_text("old")
    Path("real.csv").chmod(0o600)
    Path("link.csv").symlink_to("real.csv")
    assert forecast("sql", "SELECT 1 AS a", "--db", str(db), "--format", "csv", "--output", "link.csv") == 0
    assert Path("link.csv").is_symlink()
    assert Path("real.csv").read_text() == "a\n1\n"
    assert Path("real.csv").stat().st_mode & 0o777 == 0o600
    forecast("sql", "SELECT 1 AS a", "--db", str(db), "--format", "csv", "--output", "/dev/null")
    assert not Path("/dev/null").is_file()
    assert sorted(path.name for path in Path().iterdir()) == ["link.csv", "r.duckdb", "real.csv", "runs.csv"]
    capsys.readouterr()


def test_a_full_disk_behind_stdout_is_one_line(db: Path) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "forecast", "sql", "SELECT 1", "--db", str(db)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == "error: standard output cannot be written: No space left on device\n"


def test_ctrl_c_while_duckdb_computes(db: Path, tmp_path: Path) -> None:
    sql = "SELECT count(*) FROM range(300000000000) AS t(i), range(3) WHERE hash(i) % 7 = 0"
    command = [sys.executable, "-m", "forecast", "sql", sql, "--db", str(db)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as asking:
        deadline = time.monotonic() + 60
        while not (tmp_path / "r.duckdb.tmp").exists() and not _holds(asking.pid, db) and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(1.0)
        asking.send_signal(signal.SIGINT)
        out, err = asking.communicate(timeout=60)
    assert asking.returncode == 130
    assert out == ""
    assert "Traceback" not in err


def _holds(process: int, db: Path) -> bool:
    links = Path(f"/proc/{process}/fd")
    return any(os.path.realpath(link) == str(db.resolve()) for link in links.iterdir()) if links.is_dir() else True


def test_an_explanation_is_found_in_any_spelling() -> None:
    import duckdb

    with duckdb.connect() as connection:
        for sql, kind in {
            "EXPLAIN SELECT 1": "SELECT",
            "explain (format json) (select 1)": "SELECT",
            "EXPLAIN /* COPY */ -- x\n ANALYZE COPY (SELECT 1) TO 'x'": "COPY",
            "EXPLAIN (ANALYZE) DELETE FROM t": "DELETE",
            "EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1": "CREATE",
        }.items():
            assert queries._explained(connection, sql) == kind, sql
