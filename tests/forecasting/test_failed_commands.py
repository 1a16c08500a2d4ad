"""A forecast that cannot be made says so in one line and leaves the results file as it was, byte for byte."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from forecast.cli import main

TABLE = "family,model,task,params,tokens,acc\nf,small,t,1e8,2e9,0.3\nf,large,t,1e9,2e10,0.5\n"
PREDICT = ("predict", "--flops", "1e22")


def forecast(*arguments: str) -> int:
    """Run the command line in this process and return its exit code."""
    before = sys.argv
    sys.argv = ["forecast", *arguments]
    try:
        main()
    except SystemExit as error:
        return int(error.code or 0)
    finally:
        sys.argv = before
    return 0


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1, captured.err
    return captured.err


@pytest.fixture
def db(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs.csv").write_text(TABLE)
    assert forecast("import", "runs.csv", "--db", "r.duckdb", "--quiet") == 0
    capsys.readouterr()
    return Path("r.duckdb")


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
    db: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, words: str
) -> None:
    before = db.read_bytes()
    assert forecast(*arguments, "--db", str(db), "--quiet") == code
    assert words in one_line(capsys)
    assert db.read_bytes() == before
    assert sorted(path.name for path in Path().iterdir()) == ["r.duckdb", "runs.csv"]


@pytest.mark.parametrize("command", [PREDICT, ("backtest",)])
def test_missing_broken_and_foreign_files_stay_as_they_are(
    db: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    import duckdb

    assert forecast(*command, "--db", "absent.duckdb", "--quiet") == 1
    assert "absent.duckdb" in one_line(capsys)
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
        assert name in one_line(capsys)
        assert Path(name).read_bytes() == before, name


def test_a_table_of_other_columns_is_refused(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("wrong.csv").write_text("a,b\n1,2\n")
    assert forecast(*PREDICT, "--table", "wrong.csv", "--quiet") in {1, 2}
    assert "wrong.csv" in one_line(capsys)
    Path("percent.csv").write_text(TABLE.replace("0.5", "50"))
    assert forecast(*PREDICT, "--table", "percent.csv", "--quiet") in {1, 2}
    assert "acc" in one_line(capsys)
