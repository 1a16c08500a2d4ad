"""Full disks, closed pipes, narrow encodings, Ctrl-C and defects: one line, the right exit code, never a traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from forecast.cli import assembly

Command = Callable[..., int]
FORECAST = f"{sys.executable} -m forecast"


def shell(command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a shell line; the exit code is the first command's, as of `| head` nobody asks."""
    return subprocess.run(
        ["bash", "-c", command.replace("forecast ", f"{FORECAST} ", 1) + "; exit ${PIPESTATUS[0]}"],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
        env=os.environ | environment,
    )


@pytest.mark.parametrize("arguments", ["families", "families --json", "tasks", "fit", "--help", "sql --examples"])
def test_a_reader_who_leaves_is_no_error(tmp_path: Path, arguments: str) -> None:
    done = shell(f"forecast {arguments} | head -c 1 >/dev/null", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("arguments", ["families", "families --json", "fit", "--help", "--version", "sql --examples"])
@pytest.mark.parametrize(("redirection", "reason"), [(">/dev/full", "No space left"), (">&-", "Bad file descriptor")])
def test_results_that_cannot_be_written_are_one_line(tmp_path: Path, arguments: str, redirection: str, reason: str) -> None:
    done = shell(f"forecast {arguments} {redirection}", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: standard output cannot be written: {reason}")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-", "0<&-"])
def test_nobody_needs_to_hear_notices(tmp_path: Path, redirection: str) -> None:
    (tmp_path / "runs.csv").write_text("family,model,task,params,tokens,acc,mine\nf,m,t,1e8,2e9,0.3,1\n")
    done = shell(f"forecast import runs.csv --db r.duckdb {redirection}", tmp_path)
    assert done.returncode == 0
    assert "1 observations" in done.stdout
    assert shell(f"forecast import none.csv --db r.duckdb {redirection}", tmp_path).returncode == 1


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "utf-16"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_any_encoding_can_be_written(tmp_path: Path, environment: dict[str, str]) -> None:
    family = "fam\u00ed\u6a21\U0001f600"
    (tmp_path / "runs.csv").write_text(f"family,model,task,params,tokens,acc\n{family},m,t,1e8,2e9,0.3\n", encoding="utf-8")
    for arguments, said in (
        (("fit",), "chinchilla"),
        (("predict", "--table", "runs.csv", "--flops", "1e23"), "usable"),
        (("families", "--json"), "pythia"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "forecast", *arguments],
            capture_output=True,
            cwd=tmp_path,
            check=False,
            env=os.environ | environment,
        )
        encoding = environment.get("PYTHONIOENCODING", "ascii")
        assert b"Traceback" not in done.stderr
        text, notices = done.stdout.decode(encoding), done.stderr.decode(encoding)
        assert said in text + notices
        assert done.returncode == (1 if arguments[0] == "predict" else 0)
        if arguments[-1] == "--json":
            assert json.loads(text)


@pytest.mark.parametrize("times", [1, 3])
def test_ctrl_c_is_130_without_a_traceback(tmp_path: Path, times: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "forecast", "sql", "-", "--db", "r.duckdb"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        text=True,
        start_new_session=True,
    )
    time.sleep(1.5)
    for _ in range(times):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.01)
    _, said = process.communicate(timeout=60)
    # A shell says 130 for a process that Ctrl-C ended, however it ended.
    assert process.returncode in {130, -signal.SIGINT}
    assert "Traceback" not in said
    assert "interrupted" in said


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (KeyError("acc"), "error: KeyError: 'acc'; this is not foreseen"),
        (ZeroDivisionError(), "error: ZeroDivisionError; this is not foreseen"),
        (EOFError("Ran out of input"), "error: EOFError: Ran out of input"),
        (BrokenPipeError(32, "a worker died"), "error: BrokenPipeError"),
        (PermissionError(13, "Permission denied", "x\x1b[31m.bin"), r"error: x\x1b[31m.bin cannot be used: Permission denied"),
        (MemoryError(), "error: there is not enough memory"),
        (RecursionError("maximum recursion depth exceeded"), "error: RecursionError: maximum"),
        (UnicodeEncodeError("ascii", "\u2502", 0, 1, "no"), "error: UnicodeEncodeError"),
        (RuntimeError("many\nlines\n" * 500), "error: RuntimeError: many lines"),
    ],
)
@pytest.mark.parametrize("debug", [False, True])
def test_what_nobody_foresaw_is_one_line_and_the_traceback_on_request(
    forecast: Command,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    raised: Exception,
    said: str,
    debug: bool,
) -> None:
    def fail(**_: object) -> None:
        raise raised

    monkeypatch.setenv("FORECAST_DEBUG", "")  # --traceback sets it, and it must not outlive this test
    monkeypatch.setattr("forecast.api.overview.family_overviews", fail)
    assert forecast(*(["--traceback"] if debug else []), "families") == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[-1].startswith(said)
    assert len(lines[-1]) < 700
    assert (lines[0] == "Traceback (most recent call last):") is debug
    assert debug or len(lines) == 1


def test_a_user_error_shows_its_traceback_on_request(tmp_path: Path) -> None:
    for value, shown in (("1", True), ("0", False), ("", False)):
        done = shell("forecast import none.csv", tmp_path, FORECAST_DEBUG=value)
        assert done.returncode == 1
        assert ("Traceback" in done.stderr) is shown


def test_whole_numbers_beyond_64_bits_are_refused_everywhere(
    forecast: Command, error_line: Callable[[], str], capsys: pytest.CaptureFixture[str]
) -> None:
    from typer.main import get_command

    found = 0
    for name, command in get_command(assembly.assemble()).commands.items():  # type: ignore[attr-defined]
        for parameter in command.params:
            # Typer of today and of yesterday name the type in different places.
            kind = getattr(getattr(parameter, "type_descriptor", None), "annotation", getattr(parameter, "type", ""))
            if "int" not in str(kind) or parameter.param_type_name != "option":
                continue
            found += 1
            needed = [value for other in command.params if other.required for value in needs(other)]
            assert forecast(name, *needed, parameter.opts[0], str(2**63)) == 2
            if (getattr(parameter, "max", None) or getattr(getattr(parameter, "type", None), "max", None)) is not None:
                capsys.readouterr()
                continue  # a narrower range of its own, refused by name
            assert f"{parameter.opts[0]} is {2**63}; expected a whole number of at most 64 bits" in error_line()
    assert found > 15


def needs(parameter: object) -> list[str]:
    """Something for a parameter that must be there."""
    flag = [parameter.opts[0]] if parameter.param_type_name == "option" else []  # type: ignore[attr-defined]
    return [*flag, "1e20"]
