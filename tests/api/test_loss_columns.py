"""`forecast optimal` and `forecast plan` take the loss that the user, the card or the metrics' order says, and say which."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from forecast.cli.app import build_app
from forecast.core.errors import FitError, UsageError
from forecast.laws import get_law

LAW = get_law("chinchilla")
THETA = LAW.vector({"A": 400.0, "B": 400.0, "E": 1.7, "alpha": 0.34, "beta": 0.34})


def write(path: Path, task: str, columns: str, *, shots: str = "5", last: float | None = None) -> Path:
    """Four sizes at five budgets; every metric is a fixed multiple of the loss, `last` that of the last row."""
    lines = [f"family,model,task,num_fewshot,params,tokens,flops,{columns}"]
    for c in np.geomspace(1e18, 1e21, 5):
        for factor in (0.3, 0.6, 1.2, 2.4):
            n = np.sqrt(c / 6) * factor
            loss = float(LAW.predict(np.array([[n, c / 6 / n]]), THETA)[0])
            values = ",".join(f"{loss / (5 + index):.8f}" for index, _name in enumerate(columns.split(",")))
            lines.append(f"f,m{len(lines)},{task},{shots},{n:.6e},{c / 6 / n:.6e},{c:.6e},{values}")
    if last is not None:
        lines[-1] = f"{lines[-1].rpartition(',')[0]},{last}"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def run(*arguments: str) -> tuple[str, dict[str, object]]:
    shown = CliRunner().invoke(build_app(), list(arguments), catch_exceptions=False)
    assert shown.exit_code == 0
    found = CliRunner().invoke(build_app(), [*arguments, "--json"], catch_exceptions=False)
    return shown.stdout, json.loads(found.stdout)


@pytest.mark.parametrize(
    ("task", "columns", "metric"),
    [
        ("mmlu", "nll_per_char,nll_choice_norm", "nll_choice_norm"),
        ("sciq", "nll_choice_norm,nll_per_char", "nll_per_char"),
        ("sciq", "nll_per_char,loss", "loss"),
        ("my_own", "bits_per_byte,nll_per_token,nll_per_char", "nll_per_char"),
    ],
)
def test_one_rule_chooses_the_loss_and_both_commands_say_it(tmp_path: Path, task: str, columns: str, metric: str) -> None:
    path = write(tmp_path / "r.csv", task, columns)
    for command in (("optimal", "-C", "1e22", "--approach", "3", "--bootstrap", "0"), ("plan", "-C", "1e24")):
        shown, found = run(*command, "--csv", str(path))
        assert (found["metric"], found["num_fewshot"]) == (metric, 5)
        assert metric in shown
        assert "(5 shots)" in shown


def test_a_plan_without_runs_names_no_metric() -> None:
    _shown, found = run("plan", "-C", "1e24")
    assert (found["metric"], found["num_fewshot"]) == (None, None)


@pytest.mark.parametrize("command", [("optimal", "-C", "1e22"), ("plan", "-C", "1e24")])
def test_what_is_no_loss_is_refused(tmp_path: Path, command: tuple[str, ...]) -> None:
    path = write(tmp_path / "r.csv", "sciq", "acc,loss")
    with pytest.raises(UsageError, match="accuracy is something else"):
        run(*command, "--csv", str(path), "--metric", "acc")
    with pytest.raises(UsageError, match="no column 'lss'"):
        run(*command, "--csv", str(path), "--metric", "lss")
    only = write(tmp_path / "a.csv", "sciq", "acc")
    with pytest.raises(UsageError, match="has no loss"):
        run(*command, "--csv", str(only))


def test_rows_that_are_left_out_are_counted_and_a_negative_loss_is_refused(tmp_path: Path) -> None:
    command = ("optimal", "-C", "1e22", "--approach", "3", "--bootstrap", "0", "--csv")
    path = write(tmp_path / "r.csv", "sciq", "nll_per_char,loss", last=0.0)
    outcome = CliRunner().invoke(build_app(), [*command, str(path)], catch_exceptions=False)
    assert "1 of 20 rows lack one of loss" in " ".join(outcome.stderr.split())
    plain = tmp_path / "plain.csv"
    rows = [line.split(",") for line in write(path, "sciq", "nll_per_char,loss", last=-1.0).read_text().splitlines()]
    plain.write_text("\n".join(",".join(row[4:]) for row in rows), encoding="utf-8")
    with pytest.raises(FitError, match="loss is -1 in row '20'"):
        CliRunner().invoke(build_app(), [*command, str(plain)], catch_exceptions=False)
