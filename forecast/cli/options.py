"""Options that several commands share, with one meaning and one help text."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Annotated

import typer

from forecast.core.errors import UsageError

DEFAULT_DB = Path("forecast.duckdb")
MOST_64_BIT = 2**63 - 1
MOST_32_BIT = 2**31 - 1
"""Largest numbers of the results file's columns: seeds and counts of tokens, items and examples."""


def _silence_log(quiet: bool) -> bool:
    """Show or hide what lower layers log, which have no progress to report to: waiting for a locked file."""
    logging.getLogger("forecast").setLevel(logging.ERROR if quiet else logging.WARNING)
    return quiet


def read_counts(values: list[str] | None) -> list[int] | None:
    """Read an option of counts, repeated or comma-separated: `3e11`, `300000000000`.

    Raises:
        typer.BadParameter: no finite number above 0, or more than 64 bits hold.
    """
    return None if not values else [int(number) for number in _read_numbers(values, most=float(MOST_64_BIT))]


def read_flops(values: list[str] | None) -> list[float] | None:
    """Read an option of FLOPs, repeated or comma-separated.

    Raises:
        typer.BadParameter: no finite number above 0.
    """
    return None if not values else _read_numbers(values, most=math.inf)


def _read_numbers(values: list[str], *, most: float) -> list[float]:
    numbers = []
    for text in [part.strip() for value in values for part in value.split(",")]:
        try:
            number = float(text.replace("_", "?"))
        except ValueError:
            raise typer.BadParameter(f"'{text}' is not a number; expected e.g. 300e9") from None
        if not math.isfinite(number) or not 1 <= number < most:
            top = "" if math.isinf(most) else f" and below {most:.3g}"
            raise typer.BadParameter(f"'{text}' is out of range; expected a finite number of at least 1{top}")
        numbers.append(number)
    return numbers


def check_counts(values: list[str] | None) -> list[str] | None:
    """Callback of an option that `read_counts` reads: what is wrong is said as wrong use of that option."""
    read_counts(values)
    return values


def check_flops(values: list[str] | None) -> list[str] | None:
    """Callback of an option that `read_flops` reads."""
    read_flops(values)
    return values


def read_shots(text: str | None) -> list[int] | None:
    """Read numbers of examples, comma-separated; None where the option was not given.

    >>> read_shots("0,5,25")
    [0, 5, 25]

    Raises:
        typer.BadParameter: not whole numbers from 0, or more than 32 bits hold.
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        if not (part.isascii() and part.isdecimal()):
            raise typer.BadParameter(f"'{part}' is not a number of examples; expected e.g. 5, or 0,5,25")
        if len(part) > len(str(MOST_32_BIT)) or int(part) > MOST_32_BIT:
            raise typer.BadParameter(f"'{part}' is out of range; expected at most {MOST_32_BIT}")
    return [int(part) for part in parts]


def check_shots(value: str | None) -> str | None:
    """Callback of an option that `read_shots` reads."""
    read_shots(value)
    return value


def check_finite(value: float | None) -> float | None:
    """Callback of an option whose number must be finite: a range lets `nan` pass.

    Raises:
        typer.BadParameter: it is infinite or not a number.
    """
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"'{value}' is not a finite number")
    return value


DbOption = Annotated[
    Path, typer.Option("--db", envvar="FORECAST_DB", help="Results file (DuckDB).", show_default="forecast.duckdb")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print pure JSON on stdout.")]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", callback=_silence_log, help="No progress and no notices on stderr.")
]
ChanceOption = Annotated[
    float | None,
    typer.Option("--chance", help="Accuracy of guessing on the tasks of --task, when neither data nor card say it."),
]
ShotsOption = Annotated[
    int | None,
    typer.Option(
        "--num-fewshot", min=0, help="Shots, where several were measured; the card's, or those of most runs, if not said."
    ),
]
SeedOption = Annotated[
    int,
    typer.Option("--seed", min=0, help="Seed of all random numbers; the same seed gives the same results."),
]


def split_names(text: str | None, option: str, *, required: bool = False) -> list[str] | None:
    """Return the names of a comma-separated option; None where it was not given, which means all unless it is `required`.

    Raises:
        UsageError: it was given, but names nothing: that must not mean all.

    >>> split_names("piqa, sciq", "--task"), split_names(None, "--task")
    (['piqa', 'sciq'], None)
    """
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        remedy = "" if required else f"leave {option} out for all"
        raise UsageError(f"{option} is {text!r}", expected="at least one name", remedy=remedy)
    return names
