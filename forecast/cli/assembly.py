"""Assembles the commands from `commands/`, and gives all their options what they have in common."""

from __future__ import annotations

import errno
import importlib
import os
import pkgutil
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from forecast.cli import commands
from forecast.cli.defaults import default_map
from forecast.cli.flags import remember_options, with_flags
from forecast.core.errors import ForecastError, InputError, UsageError
from forecast.core.settings_file import find_settings

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
    "references",
    "config",
    "doctor",
)
"""Order in `forecast --help`; a command that is not named here comes last."""
_LARGEST = 2**63 - 1
"""What DuckDB's BIGINT, NumPy and PyTorch can hold."""
_READ_AS_FILES = {"--db": "a results file", "--table": "a CSV or Parquet table"}
"""Options that name one file, and what it should be."""

_VALUE_MAY_BE_LEFT_OUT = {"--apply-chat-template"}
_EXAMINE_SETTINGS = ("config", "doctor")
"""Commands that look at the settings file themselves, and say what is wrong with it."""


class UnforeseenError(Exception):
    """Carries an error past Typer, which would take it for the end of a pipe or of the input and say nothing."""

    def __init__(self, original: Exception) -> None:
        """Keep the error itself."""
        super().__init__(str(original))
        self.original = original


class _Commands(TyperGroup):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for command in _leaves(self):
            for parameter in command.params:
                _settle(parameter)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words of the command line."""
        return list(super().parse_args(ctx, _complete(args)))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command, and give its options the defaults of the user's settings file."""
        name, command, rest = super().resolve_command(ctx, args)
        if ctx.parent is None and not {"-h", "--help"} & set(rest):
            with suppress(ForecastError) if name in _EXAMINE_SETTINGS else nullcontext():
                ctx.default_map = default_map(self, find_settings(Path.cwd()))
        return name, command, rest

    def invoke(self, ctx: Any) -> Any:
        """Run a command; what is no news for Typer is news for the user. Errors name options instead of arguments."""
        try:
            return super().invoke(ctx)
        except ForecastError as error:
            error.args = (with_flags(str(error)),)
            raise
        except EOFError as error:
            raise UnforeseenError(error) from error
        except OSError as error:
            if error.errno != errno.EPIPE:
                raise
            raise UnforeseenError(error) from error


def _complete(words: list[str]) -> list[str]:
    """Give an empty value to options whose value may be left out: Typer knows no such options.

    >>> _complete(["eval", "--apply_chat_template", "--tasks", "piqa"])
    ['eval', '--apply_chat_template=', '--tasks', 'piqa']
    """
    following = [*words[1:], "-"]
    return [
        f"{word}=" if _normalise(word) in _VALUE_MAY_BE_LEFT_OUT and after.startswith("-") else word
        for word, after in zip(words, following, strict=True)
    ]


def _leaves(command: Any) -> list[Any]:
    return (
        [leaf for entry in command.commands.values() for leaf in _leaves(entry)] if hasattr(command, "commands") else [command]
    )


def _settle(parameter: Any) -> None:
    """Show brackets in the help as they are, and let values be checked that no command can do anything with."""
    from rich.markup import escape

    if getattr(parameter, "help", None):
        parameter.help = escape(parameter.help)
    parameter.callback = _checked(parameter.callback)


def _checked(own: Callable[..., Any] | None) -> Callable[..., Any]:
    """Return a callback that checks a value, then hands it to the option's own callback."""

    def check(ctx: Any, parameter: Any, value: Any) -> Any:
        option = parameter.opts[0]
        remember_options(name for entry in ctx.command.params for name in entry.opts)
        for entry in value if isinstance(value, list | tuple) else (value,):
            if isinstance(entry, int) and abs(entry) > _LARGEST:
                raise UsageError(f"{option} is {entry}", expected=f"a whole number of at most 64 bits, up to {_LARGEST}")
            if isinstance(entry, Path) and option in _READ_AS_FILES and entry.exists() and not entry.is_file():
                kind = "a folder" if entry.is_dir() else "not a regular file"
                raise InputError(f"{option} {entry} is {kind}", expected=_READ_AS_FILES[option])
        return value if own is None else own(ctx, parameter, value)

    return check


def _normalise(token: str) -> str:
    """Make `--num_fewshot` and `--num-fewshot` the same option."""
    return token.replace("_", "-")


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"forecast {version('capability-forecast')}")
        raise typer.Exit


def _show_tracebacks(wanted: bool) -> None:
    if wanted:
        from forecast.cli.streams import DEBUG_VARIABLE

        os.environ[DEBUG_VARIABLE] = "1"


def assemble() -> typer.Typer:
    """Build the application; the modules of the commands import nothing heavy at their top."""
    app = typer.Typer(
        name="forecast",
        cls=_Commands,
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
        show_traceback: Annotated[
            bool,
            typer.Option(
                "--traceback", callback=_show_tracebacks, help="Show where an error happened (also with FORECAST_DEBUG=1)."
            ),
        ] = False,
    ) -> None:
        """Score language-model checkpoints, fit scaling laws, and forecast the accuracy of larger models."""

    found = {module.name.removesuffix("_command") for module in pkgutil.iter_modules(commands.__path__)}
    for name in sorted(found, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name)):
        importlib.import_module(f"forecast.cli.commands.{name}_command").register(app)
    return app
