"""`forecast fit`: from a table to constants, through the workflow and the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from forecast.api.fit import FitRequest, fit_rows
from forecast.cli.app import build_app
from forecast.core.errors import ForecastError, UsageError
from forecast.laws import get_law
from forecast.observations.measurements import Selection, load_measurements

LAW = get_law("chinchilla")
THETA = LAW.vector(LAW.typical)


def write_table(path: Path, *, families: tuple[str, ...] = ("one",), noise: float = 0.002, extra: str = "") -> Path:
    rng = np.random.default_rng(0)
    lines = ["family,model,task,params,tokens,flops,loss,acc,n_items,chance,is_final,note"]
    for family in families:
        for index, (n, ratio) in enumerate((n, r) for n in np.geomspace(1e8, 1e10, 6) for r in (5.0, 20.0, 80.0)):
            d = ratio * n
            loss = float(LAW.predict(np.array([[n, d]]), THETA)[0] * np.exp(noise * rng.standard_normal()))
            acc = rng.binomial(2000, 0.25 + 0.7 / (1 + np.exp(4 * (loss - 2.4)))) / 2000
            lines.append(
                f"{family},run-{index},text,{n:.6e},{d:.6e},{6 * n * d:.6e},{loss:.8f},{acc:.6f},2000,0.25,true,{index % 2}"
            )
    path.write_text("\n".join(lines) + "\n" + extra, encoding="utf-8")
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_table(tmp_path / "runs.csv")


def silent(_text: str) -> None:
    return None


def run(*arguments: str) -> dict[str, object]:
    outcome = CliRunner().invoke(build_app(), ["fit", *arguments, "--json"], catch_exceptions=False)
    assert outcome.exit_code == 0
    found = json.loads(outcome.stdout)
    assert isinstance(found, dict)
    return found


def test_constants_come_back_with_errors_and_intervals(table: Path) -> None:
    fitted = fit_rows(table, Selection(), FitRequest(law="chinchilla", loss="least-squares", replicates=300), notice=silent)
    report, result = fitted.report, fitted.result
    assert result.identified
    assert report.n_rows == report.n_runs == 18
    assert report.x == {"params": "params", "tokens": "tokens"}
    assert report.y == "loss"
    for constant in report.constants:
        assert constant.value is not None
        assert constant.standard_error is not None
        assert constant.lo is not None
        assert constant.hi is not None
        assert constant.standard_error > 0
        assert constant.lo < constant.value < constant.hi
        assert abs(constant.value - LAW.typical[constant.name]) < 5 * constant.standard_error


def test_the_command_prints_pure_json(table: Path) -> None:
    found = run("chinchilla", "--csv", str(table), "--bootstrap", "0")
    assert found["status"] == "ok"
    assert found["formula"] == LAW.formula
    assert found["uncertainty"] == "sandwich and profile"
    constants = {entry["name"]: entry for entry in found["constants"]}  # type: ignore[attr-defined]
    assert constants["E"]["value"] == pytest.approx(1.8, abs=0.1)


def test_options_of_the_command(table: Path) -> None:
    found = run(
        "sigmoid", "--table", str(table), "--x", "nll=loss", "--y", "acc", "--loss", "binomial", "--fix", "floor=0.25",
        "--soft", "ceiling=0.95:0.05", "--bootstrap", "50",
    )  # fmt: skip
    constants = {entry["name"]: entry for entry in found["constants"]}  # type: ignore[attr-defined]
    assert constants["floor"]["role"] == "fixed"
    assert constants["ceiling"]["role"] == "soft"
    assert constants["k"]["value"] == pytest.approx(4.0, abs=1.5)
    half = run("power-law", "--csv", str(table), "--y", "loss", "--where", "note=1", "--bootstrap", "0")
    assert half["n_rows"] == 9


def test_laws_are_listed() -> None:
    outcome = CliRunner().invoke(build_app(), ["fit", "--json"], catch_exceptions=False)
    listed = json.loads(outcome.stdout)
    assert {"chinchilla", "m4", "hestness"} <= {entry["law"] for entry in listed}
    text = CliRunner().invoke(build_app(), ["fit"], catch_exceptions=False).stdout
    assert "L = E + A / N^alpha" in text


def test_what_is_not_identified_is_not_a_number(tmp_path: Path) -> None:
    path = tmp_path / "short.csv"
    rng = np.random.default_rng(0)
    rows = ["family,model,task,flops,loss"]
    rows += [
        f"f,m{i},t,{c:.4e},{(2000 * c**-0.17 + 1.5) * np.exp(0.003 * rng.standard_normal()):.6f}"
        for i, c in enumerate(np.geomspace(1e20, 5e20, 10))
    ]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    found = run("power-law-offset", "--csv", str(path))
    constants = {entry["name"]: entry for entry in found["constants"]}  # type: ignore[attr-defined]
    assert constants["E"]["value"] is None
    assert constants["E"]["lo"] is None
    assert found["identified"] is False
    assert found["status"] == "not-identified"
    shown = CliRunner().invoke(build_app(), ["fit", "power-law-offset", "--csv", str(path)], catch_exceptions=False)
    assert "not identified" in shown.stdout


def test_a_plain_table_of_numbers_serves_laws_of_other_scales(tmp_path: Path) -> None:
    path = tmp_path / "sweep.csv"
    path.write_text(
        "flops,best_lr\n" + "".join(f"{c:.4e},{0.3118 * c**-0.125:.8e}\n" for c in np.geomspace(1e17, 2e19, 6)),
        encoding="utf-8",
    )
    found = run("deepseek-lr", "--csv", str(path), "--y", "best_lr", "--bootstrap", "0")
    constants = {entry["name"]: entry for entry in found["constants"]}  # type: ignore[attr-defined]
    assert constants["b"]["value"] == pytest.approx(0.125, rel=1e-5)
    assert any("deepseek-md" in warning for warning in found["warnings"])  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["chinchila", "--csv", "TABLE"], "no law 'chinchila'"),
        (["chinchilla", "--csv", "missing.csv"], "there is no missing.csv"),
        (["chinchilla", "--csv", "TABLE", "--y", "los"], "no column 'los'.*did you mean 'loss'"),
        (["chinchilla", "--csv", "TABLE", "--task", "tex"], "unknown task 'tex'.*did you mean 'text'"),
        (["chinchilla", "--csv", "TABLE", "--where", "note=7"], "no row"),
        (["chinchilla", "--csv", "TABLE", "--where", "colour=7"], "no column 'colour'"),
        (["chinchilla", "--csv", "TABLE", "--loss", "hubert"], "no loss 'hubert'"),
        (["chinchilla", "--csv", "TABLE", "--loss", "huber:-1"], "huber:-1.*positive number"),
        (["chinchilla", "--csv", "TABLE", "--fix", "E"], "cannot be read"),
        (["chinchilla", "--csv", "TABLE", "--fix", "F=1"], "no parameter 'F'"),
        (["chinchilla", "--csv", "TABLE", "--space", "cubic"], "no residual space"),
        (["chinchilla", "--csv", "TABLE", "--level", "95"], "level 95"),
        (["chinchilla", "--csv", "TABLE", "--x", "width=params"], "no input width"),
        (["chinchilla", "--csv", "TABLE", "--use-sem"], "no column 'loss_sem'"),
        (["cortes", "--csv", "TABLE"], "no column 'is_train'"),
    ],
)
def test_a_mistake_is_named(table: Path, arguments: list[str], message: str) -> None:
    words = [str(table) if word == "TABLE" else word for word in arguments]
    with pytest.raises(ForecastError, match=f"(?s){message}"):
        CliRunner().invoke(build_app(), ["fit", *words], catch_exceptions=False)


def test_mixed_conventions_are_never_mixed(tmp_path: Path) -> None:
    path = tmp_path / "mixed.csv"
    path.write_text(
        "family,model,task,flops,flops_convention,loss\nf,a,t,1e20,6nd-total,3.0\nf,b,t,1e21,6nd-total,2.5\n"
        "f,c,t,1e22,6nd-non-embedding,2.0\n",
        encoding="utf-8",
    )
    notices: list[str] = []
    data = load_measurements(path, Selection(), notice=notices.append)
    assert data.flops_convention == "6nd-total"
    assert np.array_equal(np.sort(data.column("flops")), [1e20, 1e21, np.nan], equal_nan=True)
    assert any("only those of '6nd-total' are kept" in text for text in notices)
    kept = load_measurements(path, Selection(where={"flops_convention": "6nd-non-embedding"}), notice=silent)
    assert kept.flops_convention == "6nd-non-embedding"
    assert kept.column("flops").tolist() == [1e22]


def test_several_families_must_be_chosen_from(tmp_path: Path) -> None:
    path = write_table(tmp_path / "two.csv", families=("one", "two"))
    with pytest.raises(UsageError, match=r"holds 2 families on these tasks \(one, two\); name one with `family=`"):
        load_measurements(path, Selection(), notice=silent)
    assert load_measurements(path, Selection(family="two"), notice=silent).family == "two"


def test_untrained_checkpoints_are_left_out_and_said(tmp_path: Path) -> None:
    path = write_table(tmp_path / "runs.csv", extra="one,zero,text,1e8,0,0,11.0,0.25,2000,0.25,true,0\n")
    said: list[str] = []
    report = fit_rows(path, Selection(), FitRequest(law="chinchilla", replicates=0), notice=said.append).report
    assert report.dropped_rows == 1
    assert any("untrained" in text for text in said)


def test_stored_results_are_fitted_like_a_table(table: Path, tmp_path: Path) -> None:
    from forecast.importers import read_observations
    from forecast.store import Store

    db = tmp_path / "results.duckdb"
    Store(db).add_observations(read_observations(table), source="table")
    request = FitRequest(law="chinchilla", loss="least-squares", replicates=0)
    stored = fit_rows(db, Selection(family="one", task="text"), request, notice=silent).report
    read = fit_rows(table, Selection(), request, notice=silent).report
    for left, right in zip(stored.constants, read.constants, strict=True):
        assert left.value == pytest.approx(right.value, rel=1e-6)


def test_chinchilla_by_the_command(data_folder: Path) -> None:
    found = run("chinchilla", "--csv", str(data_folder / "published" / "chinchilla2022.csv"), "--where", "excluded_outlier=0")
    constants = {entry["name"]: entry for entry in found["constants"]}  # type: ignore[attr-defined]
    assert found["objective"] == pytest.approx(1.018274e-3, rel=1e-6)
    assert constants["A"]["value"] == pytest.approx(477.83, rel=1e-4)
    assert constants["alpha"]["standard_error"] == pytest.approx(0.0151, rel=0.1)


def test_many_rows_cost_no_thousand_refits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    flops = np.exp(rng.uniform(np.log(1e18), np.log(1e22), 20_001))
    loss = 400.0 * flops**-0.1 * np.exp(0.01 * rng.standard_normal(len(flops)))
    lines = [f"{c:.8e},{y:.8e},run{i % 50}" for i, (c, y) in enumerate(zip(flops, loss, strict=True))]
    path = tmp_path / "many.csv"
    path.write_text("\n".join(["flops,loss,number", *lines]) + "\n", encoding="utf-8")
    monkeypatch.setattr("forecast.laws.uncertainty.bootstrap", lambda *_, **__: pytest.fail("refitted"))
    report = fit_rows(path, Selection(), FitRequest(law="power-law", y="loss"), notice=lambda _text: None).report
    assert report.uncertainty == "sandwich"
    alpha = report.constants[1]
    assert alpha.lo is not None
    assert alpha.hi is not None
    assert alpha.lo < 0.1 < alpha.hi < alpha.lo + 0.001
    monkeypatch.undo()
    monkeypatch.setattr("forecast.laws.uncertainty._CELLS", 30 * 20_001)
    path.write_text(path.read_text(encoding="utf-8").replace("number", "model", 1), encoding="utf-8")
    report = fit_rows(path, Selection(), FitRequest(law="power-law", y="loss"), notice=lambda _text: None).report
    assert report.uncertainty == "bootstrap over 50 runs, 30 replicates"
    assert "30 instead of 1000 bootstrap replicates: there are 20,001 rows" in report.warnings
