"""Every command answers the mistakes everyone makes with the exit code that the README promises, and one line on stderr."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.main import get_command

from forecast.cli.assembly import assemble

Command = Callable[..., int]
COMMANDS = tuple(get_command(assemble()).commands)  # type: ignore[attr-defined]
READ_DB: dict[str, tuple[str, ...]] = {
    "predict": ("--flops", "1e22"),
    "backtest": (),
    "report": (),
    "sql": ("SELECT 1",),
    "fit": ("power-law-offset",),
    "optimal": ("-C", "1e22"),
    "compare": ("f", "g"),
    "export": ("out",),
    "forecasts": (),
    "plan": ("-C", "1e22"),
}
READ_TABLE = ("predict --flops 1e22", "backtest", "fit power-law-offset", "optimal -C 1e22", "compare f g", "plan -C 1e22")
HAVE_LEVEL = ("predict --flops 1e22", "fit power-law-offset --table runs.csv", "optimal -C 1e22 --table runs.csv", "report")


@pytest.fixture
def fails(forecast: Command, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must fail with a code; return what it said on stderr, stdout being empty."""

    def run(code: int, *arguments: str) -> str:
        assert forecast(*arguments) == code, arguments
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "Traceback" not in captured.err
        assert "not foreseen" not in captured.err
        return captured.err

    return run


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_option(fails: Callable[..., str], command: str) -> None:
    assert "--no-such-option" in fails(2, command, "--no-such-option")


@pytest.mark.parametrize("command", ["train", "import", "export", "optimal", "plan", "compare", "eval", "fetch", "sql"])
def test_a_missing_argument(fails: Callable[..., str], command: str) -> None:
    assert fails(2, command)


@pytest.mark.parametrize("command", READ_DB)
@pytest.mark.parametrize(
    ("path", "said"), [("none.duckdb", "none.duckdb"), ("folder", "--db folder is a folder"), ("text.duckdb", "text.duckdb")]
)
def test_results_that_are_not_there(
    fails: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, path: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("text.duckdb").write_text("no database at all, only text " * 500)
    assert said in fails(1, command, *READ_DB[command], "--db", path)
    assert not Path("none.duckdb").exists()


@pytest.mark.parametrize("command", ["families", "tasks", "eval --model . --tasks arc_easy", "import runs.csv"])
def test_a_folder_is_not_a_results_file(fails: Callable[..., str], db: Path, command: str) -> None:
    Path("folder").mkdir()
    assert "--db folder is a folder; expected a results file" in fails(1, *command.split(), "--db", "folder")


@pytest.mark.parametrize("command", READ_TABLE)
@pytest.mark.parametrize("name", ["none.csv", "folder", "binary.csv", "empty.csv", "/dev/null"])
def test_a_table_that_cannot_be_read(fails: Callable[..., str], db: Path, command: str, name: str) -> None:
    Path("folder").mkdir()
    Path("binary.csv").write_bytes(bytes(range(256)))
    Path("empty.csv").touch()
    assert name in fails(1, *command.split(), "--table", name)


@pytest.mark.parametrize("command", HAVE_LEVEL)
@pytest.mark.parametrize("level", ["0", "1", "2", "-1", "nan", "inf", "x"])
def test_a_level_out_of_range(fails: Callable[..., str], db: Path, command: str, level: str) -> None:
    assert "level" in fails(2, *command.split(), "--db", str(db), "--level", level)
    assert not Path("forecast-report.html").exists()


@pytest.mark.parametrize("flag", [(), ("--json",)])
def test_errors_go_to_stderr_with_json_too(fails: Callable[..., str], db: Path, flag: tuple[str, ...]) -> None:
    Path("file").touch()
    for code, arguments in (
        (1, ("predict", "--flops", "1e22", "--db", str(db))),
        (2, ("predict", "--flops", "1e22", "--db", str(db), "--task", "none")),
        (2, ("sql", "SELEC 1", "--db", str(db))),
        (2, ("families", "none")),
        (2, ("tasks", "none")),
        (1, ("import", "none.csv", "--db", str(db))),
        (1, ("report", "--out", ".", "--db", str(db))),
        (1, ("report", "--out", "/dev/null", "--db", str(db))),
        (1, ("demo", "--folder", "file")),
        (1, ("train", "demo", "--output", "file")),
    ):
        assert fails(code, *arguments, *flag).splitlines()[-1].startswith("error: ")
