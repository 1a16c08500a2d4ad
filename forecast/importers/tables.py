"""Reading a table's cells: CSV, compressed CSV and Parquet, told apart by the file's name."""

from __future__ import annotations

from pathlib import Path

from forecast.core.errors import InputError
from forecast.importers.table_blocks import Table
from forecast.importers.text_lines import Advance

_EXPECTED = "a CSV, CSV.gz or Parquet table"


def is_table(path: Path) -> bool:
    """Tell by its name whether a file is an observation table.

    >>> is_table(Path("runs.csv.gz")), is_table(Path("results.json"))
    (True, False)
    """
    return path.name.lower().endswith((".csv", ".csv.gz", ".parquet"))


def read_table(path: Path, *, advance: Advance | None = None) -> Table:
    """Read a CSV, CSV.gz or Parquet file; `advance` is told the bytes that were read.

    Raises:
        InputError: missing, unreadable, empty, not rectangular, or a column named twice.
    """
    if path.name.lower().endswith(".parquet"):
        from forecast.importers.parquet_tables import read_parquet

        table = read_parquet(path, expected=_EXPECTED, advance=advance)
    else:
        from forecast.importers.csv_tables import read_csv

        table = read_csv(path, advance=advance)
    if not table.blocks:
        raise InputError(f"{path} has no rows", expected="a header and at least one row")
    return table
