"""Several targets at once: a CSV of models to forecast."""

from __future__ import annotations

from pathlib import Path

from forecast.core.errors import InputError
from forecast.core.forecasts import Target
from forecast.core.scale import check_scale
from forecast.core.user_files import read_user_text


def read_targets(path: str | Path) -> list[Target]:
    """Read a CSV with the columns name, params, tokens, flops; numbers that are unknown are left empty.

    Raises:
        InputError: no such file, not a regular or readable one, a column missing, or a value that is no positive number.
    """
    import csv

    path = Path(path)
    try:
        text = read_user_text(path, expected="a CSV with columns name, params, tokens, flops")
        rows = list(csv.DictReader(text.splitlines(keepends=True)))
    except csv.Error as error:
        raise InputError(
            f"{path} cannot be read: {error}", expected="a CSV with columns name, params, tokens, flops"
        ) from error
    if not rows or "name" not in rows[0]:
        raise InputError(f"{path} names no targets", expected="a CSV with columns name, params, tokens, flops")
    targets = []
    for line, row in enumerate(rows, start=2):
        numbers: dict[str, float | None] = {}
        for column in ("params", "tokens", "flops"):
            text = (row.get(column) or "").strip()
            try:
                numbers[column] = float(text) if text else None
            except ValueError as error:
                raise InputError(f"{path} line {line}: {column} is '{text}'", expected="a positive number") from error
        params, tokens, flops = numbers["params"], numbers["tokens"], numbers["flops"]
        check_scale(f"{path} line {line}", params=params, tokens=tokens, flops=flops, error=InputError)
        targets.append(Target(name=row["name"] or f"line {line}", params=params, tokens=tokens, flops=flops))
    return targets
