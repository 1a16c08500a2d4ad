"""Extreme input of `fit` and `compare` is named in one error, by column and row, before anything is computed or written."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from forecast.cli.app import build_app
from forecast.core.errors import FitError, ForecastError, UsageError

ROWS = ((1e3, 0.5), (1e4, 0.4), (1e5, 0.3), (1e6, 0.25), (1e7, 0.2), (1e8, 0.18))


def write(path: Path, *, fourth: object = 0.25) -> Path:
    cells = [(x, fourth if index == 3 else y) for index, (x, y) in enumerate(ROWS)]
    path.write_text("\n".join(["examples,error", *(f"{x},{y}" for x, y in cells)]), encoding="utf-8")
    return path


def run(*arguments: str) -> str:
    return CliRunner().invoke(build_app(), list(arguments), catch_exceptions=False).stderr


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (("--bootstrap", "100000000000"), UsageError, "at most 100,000"),
        (("--level", "nan"), UsageError, "level nan"),
        (("--level", "2"), UsageError, r"level 2\.0"),
        (("--fix", "a=nan"), UsageError, "a cannot be held at nan"),
        (("--soft", "a=1:0"), UsageError, "sd above 0"),
        (("--y", "examples"), UsageError, "predicts from"),
        (("--loss", "huber:nan"), UsageError, "positive number"),
    ],
)
def test_an_option_that_cannot_be_meant_is_refused_and_nothing_stored(
    tmp_path: Path, options: tuple[str, ...], kind: type[ForecastError], message: str
) -> None:
    path, db = write(tmp_path / "r.csv"), tmp_path / "r.duckdb"
    with pytest.raises(kind, match=message):
        run("fit", "m1", "--csv", str(path), "--db", str(db), "--save", "--plot", str(tmp_path / "f.png"), *options)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["r.csv"]


@pytest.mark.parametrize("value", [0, -0.1])
def test_a_row_without_a_logarithm_is_named_by_column_and_place(tmp_path: Path, value: float) -> None:
    with pytest.raises(FitError, match=rf"error is {value:g} in row '4'"):
        run("fit", "m1", "--csv", str(write(tmp_path / "r.csv", fourth=value)))


@pytest.mark.parametrize("value", ["zero", "inf", "nan", ""])
def test_a_row_without_a_number_is_left_out_and_counted(tmp_path: Path, value: str) -> None:
    assert "1 of 6 rows" in run("fit", "m1", "--csv", str(write(tmp_path / "r.csv", fourth=value)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--bootstrap", "100000000000"), "at most 100,000"),
        (("--metric", "flops"), "cannot be compared on flops"),
        (("--at", "nan"), "--at is nan"),
        (("--level", "nan"), "level nan"),
    ],
)
def test_a_comparison_that_cannot_be_meant_is_refused(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    rows = [f"{family},{family}{i},t,{c},{3 - 0.2 * i}" for family in "ab" for i, c in enumerate((1e18, 1e19, 1e20, 1e21))]
    path = tmp_path / "r.csv"
    path.write_text("\n".join(["family,model,task,flops,loss", *rows]), encoding="utf-8")
    with pytest.raises(UsageError, match=message):
        run("compare", "a", "b", "--csv", str(path), *options)
