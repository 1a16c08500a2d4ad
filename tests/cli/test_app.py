"""The command line as a whole: quick to start, one line per user error, every command documented."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from forecast.cli import app as app_module

HEAVY = ("torch", "transformers", "lm_eval", "duckdb", "scipy", "matplotlib", "pyarrow", "datasets", "numpy", "pandas", "yaml")
README = Path(__file__).resolve().parents[2] / "README.md"


@pytest.mark.parametrize("asked", [["--help"], ["eval", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(asked: list[str]) -> None:
    code = (
        "import sys; from forecast.cli import main; heavy = sys.argv.pop(1).split(','); sys.argv[0] = 'forecast'\n"
        "try: main()\n"
        "finally: print([name for name in heavy if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, ",".join(HEAVY), *asked], capture_output=True, text=True, check=True)
    assert done.stdout
    assert done.stderr.splitlines() == ["[]"]


def commands() -> list[str]:
    group = typer.main.get_command(app_module.build_app())
    return sorted(group.commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", commands())
def test_every_command_has_help_and_is_in_the_readme(name: str) -> None:
    result = CliRunner().invoke(app_module.build_app(), [name, "--help"])
    assert result.exit_code == 0
    assert f"forecast {name}" in README.read_text(encoding="utf-8"), f"README does not mention `forecast {name}`"


@pytest.mark.parametrize("name", commands())
def test_every_option_has_a_help_text(name: str) -> None:
    command = typer.main.get_command(app_module.build_app()).commands[name]  # type: ignore[attr-defined]
    leaves = list(getattr(command, "commands", {}).values()) or [command]
    silent = [p.name for leaf in leaves for p in leaf.params if p.param_type_name == "option" and not p.help]
    assert silent == []


def run_forecast(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "forecast", *arguments], capture_output=True, text=True, cwd=cwd, check=False)


def test_unknown_command_is_a_usage_error(tmp_path: Path) -> None:
    done = run_forecast("predcit", cwd=tmp_path)
    assert done.returncode == 2
    assert "predict" in done.stderr


def test_a_user_error_is_one_line_without_traceback(tmp_path: Path) -> None:
    done = run_forecast("predict", "--db", "absent.duckdb", "--task", "arc_easy", "--flops", "1e20", cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert re.match(r"^error: .+\n$", done.stderr), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_dash_and_underscore_are_interchangeable(tmp_path: Path) -> None:
    one = run_forecast("eval", "--num-fewshot", "x", cwd=tmp_path)
    two = run_forecast("eval", "--num_fewshot", "x", cwd=tmp_path)
    assert (one.returncode, two.returncode) == (2, 2)
    assert one.stderr == two.stderr


def test_version_is_the_installed_one(tmp_path: Path) -> None:
    from importlib.metadata import version

    assert run_forecast("--version", cwd=tmp_path).stdout == f"forecast {version('capability-forecast')}\n"


def test_an_interruption_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> typer.Typer:
        app = typer.Typer()

        @app.command()
        def work() -> None:
            raise KeyboardInterrupt

        return app

    monkeypatch.setattr(app_module, "build_app", interrupted)
    monkeypatch.setattr(sys, "argv", ["forecast"])
    with pytest.raises(SystemExit) as stop:
        app_module.main()
    assert stop.value.code == 130
    assert capsys.readouterr().err == "interrupted; what was finished is kept, and the same command continues\n"


def test_a_negative_seed_is_a_usage_error(tmp_path: Path) -> None:
    done = run_forecast("predict", "--seed", "-1", "--flops", "1e20", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
