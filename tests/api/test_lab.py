"""The front door: a notebook's script, relations, one-line answers, notices as warnings, errors that name arguments."""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import forecast
from forecast.api.evaluate import EvaluationReport, FailedCheckpoint
from forecast.api.relation import Relation
from forecast.core.errors import InputError, NotForecastableError, UsageError
from forecast.core.observation_rows import ObservationRow
from forecast.core.plain_json import to_plain
from forecast.core.records import CheckpointRequest
from forecast.store import Store

Run = Callable[..., EvaluationReport]
SCRIPT = """
import forecast
lab = forecast.open("r.duckdb")                                   # str or Path; notices shown as warnings
lab.evaluate("pythia", sizes="70m..1.4b", revisions="log:12", tasks="arc_easy").check()
lab.scores().plot.scatter("flops", "acc_norm", logx=True)         # DataFrame
f = lab.predict("arc_easy", params=12e9, tokens=300e9)            # one Forecast; a list only if several were asked
shown = repr(f)                                                   # arc_easy, 12b: 62.1 % (90 %: 58.0 to 66.3), predictable
figure = f.plot()                                                 # a matplotlib Figure
"""


def rows_of(task: str, runs: int = 8, family: str = "fam", shift: float = 0.0) -> list[ObservationRow]:
    rng = np.random.default_rng(0)
    rows = []
    for position in range(runs):
        params = 7e7 * 2.0**position
        flops = 6 * params * 3e11
        nll = 0.4 + shift + 1.2 * (flops / 1e20) ** -0.1
        acc = 0.25 + 0.7 / (1 + np.exp(8 * (nll - 1.1))) + rng.normal(0, 0.005)
        rows.append(
            ObservationRow(
                family=family,
                model=f"{family}-{position}",
                task=task,
                params=int(params),
                tokens=int(3e11),
                flops=flops,
                flops_convention="6nd-total",
                num_fewshot=0,
                n_items=1000,
                chance=0.25,
                is_final=True,
                metrics={"nll_per_char": nll, "acc": float(acc)},
            )
        )
    return rows


@pytest.fixture
def db(tmp_path: Path) -> Path:
    path = tmp_path / "results.duckdb"
    Store(str(path)).add_observations([*rows_of("quiz"), *rows_of("riddle")], source="made.csv")
    return path


@pytest.fixture(autouse=True)
def _no_windows() -> Iterator[None]:
    import matplotlib

    matplotlib.use("agg")
    yield
    from matplotlib import pyplot

    pyplot.close("all")


def test_the_script_of_a_notebook_runs_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoints: list[Path], run: Run
) -> None:
    monkeypatch.chdir(tmp_path)
    asked: dict[str, Any] = {}

    def evaluate_toys(requests: list[CheckpointRequest], **options: Any) -> EvaluationReport:
        # In place of Pythia, which is on the hub: two toys, and rows of a family that can be forecast.
        asked.update(options, models={request.model for request in requests})
        report = run(checkpoints[:2], ["toy_choice"], db=options["db"])
        Store(options["db"]).add_observations(rows_of("arc_easy"), source="made.csv")
        return report

    monkeypatch.setattr("forecast.api.evaluate.evaluate", evaluate_toys)
    made: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", forecast.ForecastNotice)
        exec(SCRIPT.replace('"flops", "acc_norm"', '"n_items", "acc_norm"'), made)  # toys are of unknown compute
    assert asked["models"] == {"pythia-70m", "pythia-160m", "pythia-410m", "pythia-1b", "pythia-1.4b"}
    assert asked["tasks"] == "arc_easy"
    assert made["shown"].startswith("arc_easy, 12b: ")
    assert "\n" not in made["shown"]
    assert type(made["figure"]).__name__ == "Figure"


def test_relations_are_tables_of_any_library(db: Path) -> None:
    lab = forecast.open(str(db))
    rows = lab.observations()
    assert len(rows) == 16
    assert len(rows.df()) == rows.arrow().num_rows == 16
    assert "\n" not in repr(rows)
    assert "acc" in rows.columns
    assert rows._repr_html_().endswith("<p>16 rows</p>")
    assert lab.sql("SELECT 1 AS one").df().one.tolist() == [1]
    assert len(lab.scores()) == len(lab.items()) == 0
    with pytest.raises(UsageError):
        lab.sql("SELEC 1").df()
    assert len(Relation(lambda: iter(()))) == 0


def test_a_table_is_opened_as_well(tmp_path: Path) -> None:
    table = tmp_path / "runs.csv"
    lines = [f"fam,m{i},quiz,{7e7 * 2**i:.0f},3e11,{0.3 + 0.05 * i},0.25,1000" for i in range(8)]
    table.write_text("family,model,task,params,tokens,acc,chance,n_items\n" + "\n".join(lines) + "\n")
    lab = forecast.open(str(table))
    assert len(lab.observations()) == 8
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", forecast.ForecastNotice)
        found = lab.predict(flops=1e24)
    assert isinstance(found, list)
    assert [entry.task for entry in found] == ["quiz"]
    assert len(forecast.read_observations(str(table))) == 8


def test_one_question_gives_one_forecast_and_several_a_list(db: Path) -> None:
    lab = forecast.open(db)
    one = lab.predict("quiz", flops=1e24)
    assert isinstance(one, forecast.Forecast)
    assert repr(one).startswith("quiz, 1e+24 FLOPs: ")
    assert repr(one).endswith(f", {one.verdict.value}")
    assert "fitted" not in to_plain(one)  # type: ignore[operator]
    several = lab.predict("quiz, riddle", flops=1e24)
    assert isinstance(several, list)
    assert [entry.task for entry in several] == ["quiz", "riddle"]
    assert several[0] == one
    (same,) = forecast.predict(str(db), tasks="quiz", targets=[one.target])
    assert same.forecast.accuracy == one.accuracy
    assert len(repr(same)) < 200
    hidden = lab.predict("quiz", holdout="fam-7")
    assert isinstance(hidden, forecast.Forecast)
    assert "measured" in repr(hidden)


def test_errors_name_arguments(db: Path) -> None:
    lab = forecast.open(db)
    for ask, name in (
        (lambda: lab.predict("quiz", tokens=3e11), "params"),
        (lambda: lab.predict("quiz"), "flops"),
        (lambda: lab.predict("quiz", flops=7), ""),
        (lambda: lab.predict("  ", flops=1e24), "task"),
        (lambda: lab.fit("chinchilla", level=2), "level"),
        (lambda: lab.emergence("quiz", margin=30), "margin"),
        (lambda: lab.optimal(3), "budgets"),
        (lambda: lab.evaluate(tasks="quiz"), "family"),
        (lambda: forecast.open(3), "path"),  # type: ignore[arg-type]
    ):
        with pytest.raises(UsageError) as caught:
            ask()
        assert "--" not in str(caught.value)
        assert not name or name in str(caught.value)
    with pytest.raises(InputError, match="is a folder"):
        forecast.open(db.parent)
    Store(db).add_observations(rows_of("short", runs=2), source="other.csv")
    with pytest.raises(NotForecastableError):
        lab.predict("short", flops=1e24)


def test_notices_are_warnings_from_the_callers_line(tmp_path: Path) -> None:
    table = tmp_path / "runs.csv"
    table.write_text("family,model,task,params,tokens,acc,colour\nf,m,quiz,7e7,3e9,0.5,red\n")
    lab = forecast.open(tmp_path / "r.duckdb")
    with pytest.warns(forecast.ForecastNotice, match="colour") as seen:
        report = lab.import_(str(table))
    assert report.added == 1
    assert {entry.filename for entry in seen} == {__file__}
    assert len({str(entry.message) for entry in seen}) == len(seen)


def test_laws_and_figures(db: Path, tmp_path: Path) -> None:
    Store(db).add_observations(rows_of("quiz", family="other", shift=0.02), source="more.csv")
    lab = forecast.open(db)
    fitted = lab.fit("power-law-offset", family="fam", task="quiz", columns={"x": "flops"}, y="nll_per_char", replicates=0)
    compared = lab.compare("fam", "other", task="quiz", replicates=20)
    tested = lab.backtest("quiz", family="fam")
    crossed = lab.emergence("quiz", family="fam")
    planned = lab.plan(1e24, family="fam", task="quiz", metric="nll_per_char")
    for answer in (fitted, compared, tested, crossed, planned, forecast.plan(None, 1e24), forecast.optimal(None, 1e21)):
        assert "\n" not in repr(answer)
        assert len(repr(answer)) < 400
    assert type(tested.plot()).__name__ == "Figure"
    assert "drawing" not in json.dumps(to_plain(forecast.optimal(None, 1e21)))
    with pytest.raises(UsageError, match="no runs to draw"):
        forecast.optimal(None, 1e21).plot()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", forecast.ForecastNotice)
        assert lab.report(str(tmp_path / "page.html"), tasks="quiz", families="fam").is_file()


def test_the_lab_compares_families_or_says_what_else(tmp_path: Path) -> None:
    with pytest.raises(forecast.ForecastError, match="families A and B"):
        forecast.open(tmp_path / "r.duckdb").compare("a")
    with pytest.raises(forecast.ForecastError, match="there is no"):
        forecast.open(tmp_path / "r.duckdb").compare(items=["a", "b"])


def test_failures_are_raised_when_checked() -> None:
    assert EvaluationReport(rows=({},), failures=()).check().rows == ({},)
    failed = EvaluationReport(rows=(), failures=(FailedCheckpoint(source="x", error="broken"),))
    with pytest.raises(forecast.ForecastError, match="x: broken"):
        failed.check()


def test_methods_of_the_lab_are_the_verbs() -> None:
    for name, verb in (("backtest", forecast.backtest), ("fit", forecast.fit_law), ("import_", forecast.import_)):
        method = getattr(forecast.Lab, name)
        assert method.__doc__ == verb.__doc__
        assert (
            list(inspect.signature(getattr(forecast.open("x"), name)).parameters)
            == list(inspect.signature(verb).parameters)[1:]
        )
