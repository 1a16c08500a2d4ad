"""Assembles the commands, and turns errors into one line and an exit code: the only place that does."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from typing import Annotated

import typer

from forecast.cli import commands
from forecast.core.errors import EXIT_INTERRUPTED, ForecastError

ORDER = (
    "demo",
    "train",
    "eval",
    "fetch",
    "import",
    "export",
    "predict",
    "forecasts",
    "fit",
    "fits",
    "optimal",
    "backtest",
    "plan",
    "compare",
    "sql",
    "db",
    "report",
    "families",
    "tasks",
)
"""Order in `forecast --help`; a command that is not named here comes last."""


def _normalise(token: str) -> str:
    """Make `--num_fewshot` and `--num-fewshot` the same option."""
    return token.replace("_", "-")


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"forecast {version('capability-forecast')}")
        raise typer.Exit


def build_app() -> typer.Typer:
    """Build the application; the modules of the commands import nothing heavy at their top."""
    app = typer.Typer(
        name="forecast",
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"token_normalize_func": _normalise, "help_option_names": ["-h", "--help"]},
        help="Score language-model checkpoints, fit scaling laws, and forecast the accuracy of larger models.",
    )

    @app.callback()
    def root(
        version: Annotated[
            bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
        ] = False,
    ) -> None:
        """Score language-model checkpoints, fit scaling laws, and forecast the accuracy of larger models."""

    found = {module.name.removesuffix("_command") for module in pkgutil.iter_modules(commands.__path__)}
    for name in sorted(found, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name)):
        importlib.import_module(f"forecast.cli.commands.{name}_command").register(app)
    return app


def main() -> None:
    """Run the command line and exit: 0 ok, 1 runtime, 2 usage, 3 partial results, 130 interrupted."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        build_app()()
    except ForecastError as error:
        line = " ".join(str(error).split())
        sys.stderr.write(f"error: {line}\n")
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, SystemExit) as stop:
        # Typer turns Ctrl-C into an exit of its own; one that came before or after it arrives as it is.
        if isinstance(stop, SystemExit) and stop.code != EXIT_INTERRUPTED:
            raise
        sys.stderr.write("interrupted; what was finished is kept, and the same command continues\n")
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        # The reader of a pipe (head, less) went away; what it wanted it has.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
