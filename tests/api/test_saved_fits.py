"""`forecast fit --save` and `forecast fits`: a fit is stored whole, once, and found again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from forecast.api.fit import FitRequest, fit_rows
from forecast.api.saved_fits import rows_hash, stored_fits
from forecast.cli.app import build_app
from forecast.core.errors import InputError, UsageError
from forecast.observations.measurements import Selection


@pytest.fixture
def table(tmp_path: Path) -> Path:
    noise = np.random.default_rng(0)
    lines = ["family,model,task,params,tokens,loss"]
    for index, n in enumerate(np.geomspace(1e7, 1e10, 12)):
        loss = 1.7 + 20 * (6 * n * 20 * n) ** -0.06 * np.exp(0.001 * noise.standard_normal())
        lines.append(f"[red]f,m{index},text,{n:.6g},{20 * n:.6g},{loss:.8f}")
    path = tmp_path / "runs.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(build_app(), list(arguments), catch_exceptions=False)


def test_a_saved_fit_is_listed_with_all_that_was_printed(table: Path, tmp_path: Path) -> None:
    db = tmp_path / "r.duckdb"
    fit = ("fit", "power-law-offset", "--table", str(table), "--db", str(db), "--save", "--json", "--fix", "E=1.7")
    printed = json.loads(run(*fit).stdout)
    run(*fit)
    (row,) = json.loads(run("fits", "--db", str(db), "--json").stdout)
    assert row["report"] == printed
    assert (row["law"], row["family"], row["task"], row["status"]) == ("power-law-offset", "[red]f", "text", printed["status"])
    shown = run("fits", "--db", str(db))
    assert shown.exit_code == 0
    assert "[red]f" in shown.stdout
    assert "1.7 (fixed)" in " ".join(shown.stdout.replace("│", " ").split())


def test_nothing_is_stored_unless_asked_or_when_the_fit_fails(table: Path, tmp_path: Path) -> None:
    db = tmp_path / "r.duckdb"
    assert run("fit", "power-law", "--table", str(table), "--db", str(db), "--json").exit_code == 0
    with pytest.raises(UsageError):
        run("fit", "power-law", "--table", str(table), "--db", str(db), "--save", "--y", "none")
    with pytest.raises(UsageError, match="without a law"):
        run("fit", "--save", "--db", str(db))
    assert not db.exists()
    with pytest.raises(InputError, match=r"there is no .*r\.duckdb"):
        stored_fits(db)


def test_the_hash_of_the_rows_tells_other_data_and_not_another_order(table: Path, tmp_path: Path) -> None:
    def hashed(path: Path, law: str = "power-law") -> str:
        return rows_hash(fit_rows(path, Selection(), FitRequest(law=law, replicates=0), notice=lambda _text: None))

    head, *rows = table.read_text(encoding="utf-8").splitlines()
    turned, changed = tmp_path / "turned.csv", tmp_path / "changed.csv"
    turned.write_text("\n".join([head, *reversed(rows)]), encoding="utf-8")
    changed.write_text("\n".join([head, *rows[:-1], rows[-1] + "1"]), encoding="utf-8")
    assert hashed(table) == hashed(turned)
    assert hashed(table) != hashed(changed)


def test_fits_of_another_outline_are_listed(tmp_path: Path) -> None:
    from forecast.store import Store

    db = tmp_path / "r.duckdb"
    Store(db).save_fit(law="mine", family="f", task="t", status="ok", data_hash="d", code_version="1", payload={"a": 1.5})
    (row,) = stored_fits(db)
    assert row["report"] == {"a": 1.5}
    assert "mine" in run("fits", "--db", str(db)).stdout


def test_shots_are_listed_with_the_metric(table: Path) -> None:
    from forecast.cli.commands.fits_command import _measured

    fitted = fit_rows(table, Selection(), FitRequest(law="power-law", replicates=0), notice=lambda _text: None)
    report = replace(fitted.report, num_fewshot=5)
    assert _measured({"y": report.y, "num_fewshot": report.num_fewshot}) == "loss (5 shots)"
