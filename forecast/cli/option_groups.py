"""A command's options as one record: declared once as a dataclass, read by Typer as parameters of a function."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any, TypeVar, get_type_hints

Options = TypeVar("Options")


def as_command(run: Callable[[Options], None], options: type[Options]) -> Callable[..., None]:
    """Return a function with one parameter per field of `options`, as Typer reads them; it calls `run` with the record.

    Args:
        run: what the command does; its docstring is the command's help.
        options: dataclass whose fields are annotated as Typer's parameters are, in the order of the help.
    """
    hints = get_type_hints(options, include_extras=True)

    def command(**values: Any) -> None:
        run(options(**values))

    command.__name__, command.__doc__, command.__module__ = run.__name__, run.__doc__, run.__module__
    command.__annotations__ = hints
    parameters = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(options)  # type: ignore[arg-type]  # a dataclass; typeshed's protocol for it is private
    ]
    setattr(command, "__signature__", inspect.Signature(parameters))  # noqa: B010  # functions do not declare it
    return command
