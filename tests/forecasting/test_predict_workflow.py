from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from forecast.api.backtest import draw_report, run_backtest
from forecast.api.predict import predict, predict_ladder
from forecast.api.target_tables import read_targets
from forecast.cli.app import build_app
from forecast.core.errors import ForecastError, InputError, NotForecastableError, UsageError
from forecast.core.forecasts import Target
from forecast.core.observations import Ladder
from forecast.forecasting.request import ForecastRequest
from forecast.observations.ladders import Wanted, load_ladders
from forecast.observations.questions import hold_out
from forecast.report.forecast_figure import draw_forecast

Simulate = Callable[..., Ladder]


def _write(ladder: Ladder, path: Path, tasks: tuple[str, ...] = ("quiz",), family: str = "simulated") -> Path:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(
            ["family", "model", "task", "params", "tokens", "flops", "nll_per_char", "acc", "n_items", "chance", "is_final"]
        )
        for task in tasks:
            for i, model in enumerate(ladder.model):
                numbers = (ladder.params[i], ladder.tokens[i], ladder.flops[i], ladder.metrics["nll_per_char"][i])
                writer.writerow([family, model, task, *numbers, ladder.metrics["acc"][i], 1000, 0.25, "true"])
    return path


@pytest.fixture
def table(simulate: Simulate, tmp_path: Path) -> Path:
    return _write(simulate(), tmp_path / "table.csv", tasks=("quiz", "riddle"))


def test_a_threshold_gives_a_probability_in_json_table_and_python(table: Path) -> None:
    run, asked = CliRunner(), ["predict", "--table", str(table), "--task", "quiz", "--flops", "1e22"]
    plain = json.loads(run.invoke(build_app(), [*asked, "--json"]).stdout)
    assert "probability_above" not in plain
    one = json.loads(run.invoke(build_app(), [*asked, "--json", "--threshold", "0.8"]).stdout)
    (made,) = predict(table, tasks="quiz", targets=[Target(name="target", flops=1e22)])
    assert one["probability_above"] == {
        "threshold": 0.8,
        "probability": pytest.approx(made.forecast.probability_above(0.8), abs=1e-12),
    }
    assert {key: value for key, value in one.items() if key != "probability_above"} == plain
    two = json.loads(run.invoke(build_app(), [*asked, "--json", "--threshold", "0.8", "--threshold", "0.3"]).stdout)
    assert [entry["threshold"] for entry in two["probability_above"]] == [0.8, 0.3]
    assert two["probability_above"][0] == one["probability_above"]
    assert two["probability_above"][1]["probability"] > two["probability_above"][0]["probability"]
    shown = run.invoke(build_app(), [*asked, "--threshold", "0.8"])
    assert "P(> 80 %)" in " ".join(shown.stdout.split())


@pytest.mark.parametrize("threshold", ["0", "1", "80", "-0.2", "nan"])
def test_a_threshold_that_is_not_a_fraction_is_refused_before_anything_is_fitted(tmp_path: Path, threshold: str) -> None:
    asked = ["predict", "--table", str(tmp_path / "absent.csv"), "--flops", "1e22", "--threshold", threshold]
    refused = CliRunner().invoke(build_app(), asked)
    assert isinstance(refused.exception, UsageError)
    assert "threshold" in str(refused.exception)


def test_untrained_checkpoints_are_called_that(simulate: Simulate) -> None:
    ladder = simulate()
    flops, tokens, step = ladder.flops.copy(), ladder.tokens.copy(), ladder.step.copy()
    flops[:2], tokens[:2], step[:2] = 0.0, 0.0, 0.0
    flops[2], tokens[2] = np.nan, np.nan
    (found,) = predict_ladder(replace(ladder, flops=flops, tokens=tokens, step=step), [Target(name="t", flops=1e22)])
    assert "Left out: 2 of 10 checkpoints (untrained, at step 0)." in found.forecast.warnings
    assert "Left out: 1 of 10 checkpoints (no known training FLOPs)." in found.forecast.warnings


def test_a_held_out_model_is_never_seen(simulate: Simulate) -> None:
    ladder = simulate()
    last = ladder.model[-1]
    (honest,) = predict_ladder(ladder, [], holdout=last)
    own = np.array([name == last for name in ladder.model])
    changed = {name: np.where(own, 0.01, column) for name, column in ladder.metrics.items()}
    (other,) = predict_ladder(replace(ladder, metrics=changed), [], holdout=last)
    assert honest.forecast.accuracy == other.forecast.accuracy
    assert honest.forecast.nll == other.forecast.nll
    assert honest.forecast.truth != other.forecast.truth
    assert last not in honest.fitted.model


def test_a_held_out_model_in_the_middle_says_that_larger_runs_remain(simulate: Simulate) -> None:
    ladder = simulate()
    fitted, held, target = hold_out(ladder, ladder.model[4])
    assert len(fitted) == len(ladder) - 1
    assert held.model == (ladder.model[4],)
    assert target.flops == ladder.flops[4]
    (found,) = predict_ladder(ladder, [], holdout=ladder.model[4])
    assert any("larger than" in warning for warning in found.forecast.warnings)
    (below,) = predict_ladder(
        ladder, [], request=ForecastRequest(fit_max_flops=float(ladder.flops[4])), holdout=ladder.model[4]
    )
    assert below.forecast.fitted_on.max_flops <= ladder.flops[4]
    assert not any("larger than" in warning for warning in below.forecast.warnings)


def test_several_tasks_and_targets_give_a_forecast_each(table: Path, tmp_path: Path) -> None:
    (tmp_path / "targets.csv").write_text("name,params,tokens,flops\na,3e9,6e10,\nb,,,5e21\n")
    found = predict(table, tasks=["quiz", "riddle"], targets=read_targets(tmp_path / "targets.csv"))
    assert [(entry.forecast.task, entry.forecast.target.name) for entry in found] == [
        ("quiz", "a"),
        ("quiz", "b"),
        ("riddle", "a"),
        ("riddle", "b"),
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [("", "names no targets"), ("flops\n1e20\n", "names no targets"), ("name,flops\nx,many\n", "line 2: flops is 'many'")],
)
def test_bad_target_files_name_the_line(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "targets.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=words):
        read_targets(path)


def test_unknown_names_give_the_nearest(table: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown task 'quizz'.*did you mean 'quiz'"):
        predict(table, tasks=["quizz"], targets=[Target(name="x", flops=1e21)])
    with pytest.raises(UsageError, match="unknown family 'simulation'"):
        predict(table, tasks=["quiz"], family="simulation", targets=[Target(name="x", flops=1e21)])
    with pytest.raises(UsageError, match="unknown model 'm99'"):
        predict(table, tasks=["quiz"], holdout="m99")
    with pytest.raises(UsageError, match="nothing to forecast"):
        predict(table, tasks=["quiz"])
    with pytest.raises(InputError, match="there is no"):
        predict(table.with_name("absent.csv"), tasks=None, targets=[Target(name="x", flops=1e21)])
    with pytest.raises(NotForecastableError, match=r"at most 10000 FLOPs"):
        predict(table, tasks=["quiz"], targets=[Target(name="x", flops=1e21)], fit_max_flops=1e4)


def test_two_families_need_a_name(simulate: Simulate, tmp_path: Path) -> None:
    path = _write(simulate(), tmp_path / "a.csv")
    text = path.read_text().splitlines()
    path.write_text("\n".join([*text, *(line.replace("simulated", "other") for line in text[1:])]) + "\n")
    with pytest.raises(UsageError, match="2 families"):
        load_ladders(path, Wanted())
    assert load_ladders(path, Wanted(family="other"))[0].family == "other"


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_draws_every_kind_of_picture(simulate: Simulate, tmp_path: Path, suffix: str) -> None:
    (found,) = predict_ladder(simulate(), [], holdout="m09")
    path = draw_forecast(found.fitted, found.forecast, tmp_path / f"deep/plot{suffix}", held_out=found.held_out)
    start = path.read_bytes()[:5]
    assert start.startswith({".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix])


def test_refuses_other_pictures_and_forecasts_without_curves(simulate: Simulate, tmp_path: Path) -> None:
    (found,) = predict_ladder(simulate(), [], ForecastRequest(method="direct"), holdout="m09")
    draw_forecast(found.fitted, found.forecast, tmp_path / "one.png")
    with pytest.raises(UsageError, match=r"plot\.gif"):
        draw_forecast(found.fitted, found.forecast, tmp_path / "plot.gif")
    with pytest.raises(UsageError, match="no curves"):
        draw_forecast(found.fitted, replace(found.forecast, curves=None), tmp_path / "plot.png")


def test_a_back_test_covers_its_tasks_and_draws(table: Path, tmp_path: Path) -> None:
    report = run_backtest(table, tasks=["quiz"], methods=["auto", "persistence"])
    assert {score.method for score in report.scores} == {"auto", "persistence"}
    assert draw_report(report, tmp_path / "b.svg").stat().st_size > 1000
    with pytest.raises(UsageError, match=r"b\.gif"):
        draw_report(report, tmp_path / "b.gif")


def _run(arguments: list[str]) -> str:
    app: typer.Typer = build_app()
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_json_of_predict_keeps_its_contract(table: Path, tmp_path: Path) -> None:
    plot = tmp_path / "p.png"
    one = json.loads(
        _run(["predict", "--table", str(table), "--task", "quiz", "--holdout", "m09", "--plot", str(plot), "--json"])
    )
    assert {"task", "family", "target", "level", "nll", "accuracy", "method", "verdict", "reasons", "backtest"} <= one.keys()
    assert set(one["accuracy"]) == {"metric", "point", "lo", "hi"}
    assert set(one["target"]) == {"name", "params", "tokens", "flops"}
    assert {"origins", "mae", "persistence_mae", "coverage"} == set(one["backtest"])
    assert {"n_checkpoints", "min_flops", "max_flops"} <= set(one["fitted_on"])
    assert one["verdict"] in {"predictable", "uncertain", "not-predictable"}
    assert one["truth"] is not None
    assert plot.exists()
    several = json.loads(_run(["predict", "--table", str(table), "--flops", "1e21", "--json", "--emergence"]))
    assert [entry["task"] for entry in several] == ["quiz", "riddle"]
    assert several[0]["emergence"]["margin"] == 0.05


def test_tables_for_people_name_the_verdict(table: Path) -> None:
    text = _run(["predict", "--table", str(table), "--task", "quiz", "--params", "3e9", "--tokens", "6e10", "--quiet"])
    assert "verdict" in text
    assert "90% interval" in text
    scores = _run(["backtest", "--table", str(table), "--task", "quiz", "--method", "auto,persistence", "--quiet"])
    assert "persistence" in scores


def test_errors_reach_the_user_as_forecast_errors(table: Path) -> None:
    app: typer.Typer = build_app()
    result = CliRunner().invoke(app, ["predict", "--table", str(table), "--task", "nope", "--flops", "1e21"])
    assert isinstance(result.exception, ForecastError)
    assert result.exception.exit_code == 2
