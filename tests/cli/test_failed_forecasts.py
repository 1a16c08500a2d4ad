"""A forecast that cannot be made says so in one line and leaves the results file as it was, byte for byte."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., int]
ErrorLine = Callable[[], str]
PREDICT = ("predict", "--flops", "1e22")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((*PREDICT, "--task", "none"), 2, "task 'none'"),
        ((*PREDICT, "--family", "none"), 2, "family 'none'"),
        ((*PREDICT, "--task", "t"), 1, "usable"),
        ((*PREDICT, "--task", "t", "--save"), 1, "usable"),
        (("predict", "--holdout", "none"), 2, "none"),
        (("predict", "--task", "t"), 2, "nothing to forecast"),
        (("backtest", "--task", "none"), 2, "task 'none'"),
        (("backtest", "--task", "t"), 1, "usable"),
    ],
)
def test_a_refused_forecast_leaves_every_byte(
    forecast: Command, db: Path, error_line: ErrorLine, arguments: tuple[str, ...], code: int, words: str
) -> None:
    before = db.read_bytes()
    assert forecast(*arguments, "--db", str(db), "--quiet") == code
    assert words in error_line()
    assert db.read_bytes() == before
    assert sorted(path.name for path in Path().iterdir()) == ["r.duckdb", "runs.csv"]


@pytest.mark.parametrize("command", [PREDICT, ("backtest",)])
def test_missing_broken_and_foreign_files_stay_as_they_are(
    forecast: Command, db: Path, error_line: ErrorLine, command: tuple[str, ...]
) -> None:
    import duckdb

    assert forecast(*command, "--db", "absent.duckdb", "--quiet") == 1
    assert "absent.duckdb" in error_line()
    assert not Path("absent.duckdb").exists()
    Path("text.duckdb").write_text("no database at all, only text " * 500)
    content = db.read_bytes()
    Path("cut.duckdb").write_bytes(content[: len(content) // 3])
    Path("zeros.duckdb").write_bytes(content[:8192] + bytes(len(content) - 8192))
    with duckdb.connect("other.duckdb") as connection:
        connection.execute("CREATE TABLE theirs AS SELECT 1 AS a")
    for name in ("text.duckdb", "cut.duckdb", "zeros.duckdb", "other.duckdb"):
        before = Path(name).read_bytes()
        assert forecast(*command, "--db", name, "--quiet") == 1, name
        assert name in error_line()
        assert Path(name).read_bytes() == before, name


def test_a_table_of_other_columns_is_refused(forecast: Command, db: Path, error_line: ErrorLine) -> None:
    Path("wrong.csv").write_text("a,b\n1,2\n")
    assert forecast(*PREDICT, "--table", "wrong.csv", "--quiet") in {1, 2}
    assert "wrong.csv" in error_line()
    Path("percent.csv").write_text(Path("runs.csv").read_text().replace("0.5", "50"))
    assert forecast(*PREDICT, "--table", "percent.csv", "--quiet") in {1, 2}
    assert "acc" in error_line()


def test_a_table_is_no_results_file(forecast: Command, db: Path, error_line: ErrorLine) -> None:
    before = Path("runs.csv").read_bytes()
    Path("other.csv").write_bytes(before)
    for arguments in (("import", "other.csv"), ("report",), ("sql", "SELECT 1")):
        assert forecast(*arguments, "--db", "runs.csv", "--quiet") == 1
        assert "runs.csv is not a DuckDB file" in error_line()
        assert Path("runs.csv").read_bytes() == before


def test_a_task_that_cannot_be_forecast_does_not_take_the_others_with_it(
    forecast: Command, db: Path, error_line: ErrorLine, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["family,model,task,params,tokens,acc,n_items,chance"]
    for i, params in enumerate((1e7, 3e7, 1e8, 3e8, 1e9)):
        rows.append(f"f,m{i},rising,{params},{20 * params},{0.3 + 0.08 * i},1000,0.25")
        rows.append(f"f,m{i},silent,{params},{20 * params},0,1000,0")
    Path("two.csv").write_text("\n".join(rows) + "\n")
    command = ("predict", "--table", "two.csv", "--flops", "1e21", "--json", "--db", str(db))
    assert forecast(*command, "--task", "rising,silent") == 3
    captured = capsys.readouterr()
    [only] = json.loads(captured.out)
    assert only["task"] == "rising"
    assert captured.err.startswith("error: 1 task(s) cannot be forecast, the others are above: silent: ")
    assert forecast(*command, "--task", "silent") == 1
    assert "the same acc" in error_line()
