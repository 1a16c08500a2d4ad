"""`forecast report` from a stored family, and what it says where nothing can be forecast."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from forecast.api.report import write_report
from forecast.core.errors import InputError, NotForecastableError, UsageError
from forecast.core.observation_rows import ObservationRow
from forecast.store import Store


def make_rows(task: str, runs: int) -> list[ObservationRow]:
    rng = np.random.default_rng(0)
    rows = []
    for position in range(runs):
        flops = 10.0 ** (17 + 0.5 * position)
        nll = 0.4 + 1.2 * (flops / 1e17) ** -0.1
        acc = 0.25 + 0.7 / (1 + np.exp(8 * (nll - 1.1))) + rng.normal(0, 0.005)
        rows.append(
            ObservationRow(
                family="fam",
                model=f"m{position}",
                task=task,
                flops=flops,
                flops_convention="6nd-total",
                n_items=1000,
                chance=0.25,
                is_final=True,
                metrics={"nll_per_char": nll, "acc": float(acc)},
            )
        )
    return rows


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "results.duckdb"
    store = Store(path)
    store.add_observations(make_rows("long", 8), source="made.csv")
    store.add_observations(make_rows("short", 2), source="made.csv")
    return path


def test_a_page_with_a_forecast_and_a_refusal(database: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    assert write_report(database, out) == 2
    page = out.read_text(encoding="utf-8")
    assert page.count("<svg") == 1
    assert "10 x the largest run" in page
    assert "100 x the largest run" in page
    assert "Check on the largest run" in page
    assert "No forecast: " in page  # two runs are too few
    assert "made.csv" in page
    assert not list(tmp_path.glob("*.partial"))


def test_targets_can_be_named(database: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    assert write_report(database, out, tasks=["long"], flops=[5e21]) == 1
    assert "5.0&thinsp;×&thinsp;10<sup>21</sup>" in out.read_text(encoding="utf-8")


@pytest.mark.parametrize("amount", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_targets_are_usage_errors(database: Path, tmp_path: Path, amount: float) -> None:
    with pytest.raises(UsageError, match="`flops=`"):
        write_report(database, tmp_path / "page.html", flops=[amount])
    assert not (tmp_path / "page.html").exists()


def test_missing_database_and_missing_folder(database: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no"):
        write_report(tmp_path / "absent.duckdb", tmp_path / "page.html")
    with pytest.raises(InputError, match="cannot be written"):
        write_report(database, tmp_path / "absent" / "page.html")


def test_a_store_without_accuracies_has_no_report(tmp_path: Path) -> None:
    path = tmp_path / "results.duckdb"
    rows = [ObservationRow(family="f", model="m", task="text", flops=1e18, metrics={"loss": 3.0})]
    Store(path).add_observations(rows, source="made.csv")
    with pytest.raises(NotForecastableError, match="no accuracies"):
        write_report(path, tmp_path / "page.html")


@pytest.mark.parametrize("level", [2.0, 0.0, -1.0, 1.0, float("nan")])
def test_a_level_that_cannot_be_meant_is_a_usage_error(database: Path, tmp_path: Path, level: float) -> None:
    with pytest.raises(UsageError, match="level"):
        write_report(database, tmp_path / "page.html", level=level)
    assert not (tmp_path / "page.html").exists()
