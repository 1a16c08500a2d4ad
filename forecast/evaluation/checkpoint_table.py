"""A table of checkpoints to evaluate: what each is, and what it cost to train, one row each."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from forecast.catalog.requests import override
from forecast.core.errors import ForecastError, InputError
from forecast.core.nearest import suggest
from forecast.core.records import CheckpointRequest
from forecast.core.scale import check_scale
from forecast.core.units import FlopsConvention
from forecast.evaluation.model_names import read_model
from forecast.importers.observation_columns import NUMBER_COLUMNS
from forecast.importers.tables import read_table

COLUMNS = (
    "model",
    "revision",
    "family",
    "name",
    "step",
    "params",
    "params_non_embedding",
    "tokens",
    "flops",
    "flops_convention",
)
"""`model` is a folder or hub id; `name` is the training run that it belongs to, under which it is stored."""
_WHOLE = ("step", "params", "params_non_embedding", "tokens")
_MOST_64_BIT = 2**63 - 1


def read_checkpoints(path: Path) -> list[CheckpointRequest]:
    """Return one request per row of a CSV or Parquet table; all columns but `model` may be missing or blank.

    A path is looked for from where the command runs, then beside the table; a folder that is not there becomes a request that
    fails in its turn. Of several rows of one family and name, all but the last step are checkpoints in the middle of that run.

    Raises:
        InputError: the table cannot be read, has an unknown column, or a row is wrong; row and column are named.
    """
    table = read_table(path)
    unknown = [name for name in table.columns if name not in COLUMNS]
    if unknown or "model" not in table.columns:
        raise InputError(
            f"{path} has the column '{unknown[0]}'" if unknown else f"{path} has no column 'model'",
            expected="the columns model and any of " + ", ".join(COLUMNS[1:]),
            remedy=suggest(unknown[0], COLUMNS, kind="column") if unknown else "",
        )
    requests: list[CheckpointRequest] = []
    lines: dict[tuple[str, str], int] = {}
    for line, cells in zip(table.lines, table.rows, strict=True):
        row = {name: cell.strip() for name, cell in zip(table.columns, cells, strict=True) if cell.strip()}
        try:
            request = _read_row(row, path)
        except ForecastError as error:
            raise InputError(f"{path}, line {line}: {error.found}", expected=error.expected, remedy=error.remedy) from error
        key = (request.source, request.revision)
        if key in lines:
            raise InputError(f"{path}, line {line}: '{row['model']}' is in line {lines[key]} too", expected="every model once")
        lines[key] = line
        requests.append(request)
    return _mark_ends(requests)


def _read_row(row: dict[str, str], path: Path) -> CheckpointRequest:
    numbers = {name: _number(name, row[name]) for name in (*_WHOLE, "flops") if name in row}
    convention = row.get("flops_convention")
    conventions = [entry.value for entry in FlopsConvention]
    if convention is not None and convention not in conventions:
        raise InputError(f"flops_convention is '{convention}'", expected="one of " + ", ".join(conventions))
    check_scale(
        row.get("model", "model"),
        params=numbers.get("params"),
        params_non_embedding=numbers.get("params_non_embedding"),
        tokens=numbers.get("tokens"),
        flops=numbers.get("flops"),
        may_be_untrained=True,
        error=InputError,
    )
    whole = {name: int(value) for name, value in numbers.items() if name in _WHOLE and value is not None}
    request = override(
        replace(
            _find_model(row, path),
            **{name: value for name, value in whole.items() if name in {"step", "params_non_embedding"}},  # type: ignore[arg-type]
        ),
        params=whole.get("params"),
        tokens=whole.get("tokens"),
        flops=numbers.get("flops"),
        flops_convention=convention,
    )
    return replace(request, family=row.get("family", request.family), model=row.get("name", request.model))


def _find_model(row: dict[str, str], path: Path) -> CheckpointRequest:
    if "model" not in row:
        raise InputError("model is blank", expected="a folder or hub id")
    text = row["model"]
    beside = path.parent / text
    if not Path(text).expanduser().is_dir() and beside.is_dir():
        text = str(beside)
    if "revision" in row:
        text = f"{text}@{row['revision']}"
    try:
        return read_model(text)
    except InputError:
        return CheckpointRequest(source=text)


def _number(name: str, text: str) -> float | None:
    try:
        value = NUMBER_COLUMNS[name].parse(text)
    except ValueError as error:
        raise InputError(f"{name} is '{text}'", expected=str(error)) from error
    if value is not None and name in _WHOLE and value > _MOST_64_BIT:
        raise InputError(f"{name} is '{text}'", expected="a number of 64 bits")
    return value


def _mark_ends(requests: list[CheckpointRequest]) -> list[CheckpointRequest]:
    """Where a run has several rows with steps, only its last is the end of the run."""
    steps: dict[tuple[str, str], list[int]] = defaultdict(list)
    for request in requests:
        if request.model and request.step is not None:
            steps[request.family, request.model].append(request.step)
    return [
        replace(request, is_final=False)
        if request.step is not None and request.step < max(steps.get((request.family, request.model), [request.step]))
        else request
        for request in requests
    ]
