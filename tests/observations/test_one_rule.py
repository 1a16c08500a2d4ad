"""Every command reads a table and the same table imported by one rule, and refuses in the same words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from forecast.api.backtest import run_backtest
from forecast.api.compare import compare_drawn
from forecast.api.fit import FitRequest, fit_rows
from forecast.api.optimal import find_optimum
from forecast.api.plan import PlanRequest, make_plan
from forecast.api.predict import predict
from forecast.api.report import write_report
from forecast.core.errors import ForecastError, InputError, NotForecastableError, UsageError
from forecast.core.forecasts import Target
from forecast.importers import read_observations
from forecast.observations.ladders import Wanted, load_families, load_ladders
from forecast.observations.measurements import Selection, load_measurements
from forecast.store import Store

HEADER = "family,model,task,params,params_non_embedding,tokens,flops,acc,loss,n_items,chance,num_fewshot,is_final,lr"


def silent(_text: str) -> None: ...


def lines_of(family: str, task: str, *, shots: str = "0", sizes: tuple[float, ...] = (1e7, 1e8, 1e9, 1e10)) -> list[str]:
    return [
        f"{family},{family}-{size:g},{task},{size:g},{0.8 * size:g},{20 * size:g},{120 * size * size:g},"
        f"{0.2 + 0.02 * np.log10(size):.4f},{2 + 400 / size**0.3:.5f},200,0.25,{shots},true,{1 / size:g}"
        for size in sizes
    ]


def write(path: Path, *parts: list[str]) -> Path:
    path.write_text("\n".join([HEADER, *(line for part in parts for line in part)]) + "\n", encoding="utf-8")
    return path


def imported(table: Path) -> Path:
    path = table.with_suffix(".duckdb")
    Store(path).add_observations(read_observations(table), source=table.name)
    return path


Ask = Callable[[Path, str | None, str | None], object]

QUESTIONS: dict[str, Ask] = {
    "predict": lambda source, family, task: predict(
        source, family=family, tasks=task and [task], targets=[Target(name="t", flops=1e22)]
    ),
    "backtest": lambda source, family, task: run_backtest(source, family=family, tasks=task and [task]),
    "fit": lambda source, family, task: fit_rows(
        source, Selection(family=family, task=task), FitRequest(law="chinchilla"), notice=silent
    ),
    "optimal": lambda source, family, task: find_optimum(source, Selection(family=family, task=task), [1e22], notice=silent),
    "plan": lambda source, family, task: make_plan(
        source, Selection(family=family, task=task), PlanRequest(target_flops=1e22), metric=None, notice=silent
    ),
    "compare": lambda source, family, task: compare_drawn(
        source, family or "f", "f" if family == "g" else "g", Selection(task=task), notice=silent
    ),
}


@pytest.fixture(params=["table", "database"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    table = write(tmp_path / "runs.csv", lines_of("f", "piqa"), lines_of("g", "piqa"), lines_of("g", "other", shots=""))
    return table if request.param == "table" else imported(table)


@pytest.mark.parametrize("command", QUESTIONS)
def test_unknown_names_are_refused_in_the_same_words(command: str, source: Path) -> None:
    with pytest.raises(UsageError) as task:
        QUESTIONS[command](source, "g", "pica")
    assert str(task.value) == "unknown task 'pica'; expected one of other, piqa; did you mean 'piqa'?"
    with pytest.raises(UsageError) as family:
        QUESTIONS[command](source, "ff", "piqa")
    assert str(family.value) == "unknown family 'ff'; expected one of f, g; did you mean 'f'?"


@pytest.mark.parametrize("command", [name for name in QUESTIONS if name != "compare"])
def test_several_families_are_refused_in_the_same_words(command: str, source: Path) -> None:
    with pytest.raises(UsageError) as error:
        QUESTIONS[command](source, None, "piqa")
    assert str(error.value) == f"{source} holds 2 families on these tasks (f, g); name one with `family=`"


@pytest.mark.parametrize("command", QUESTIONS)
def test_a_missing_file_and_an_empty_one_are_refused_in_the_same_words(command: str, tmp_path: Path) -> None:
    missing, empty = tmp_path / "none.csv", tmp_path / "empty.duckdb"
    Store(empty).create()
    with pytest.raises(InputError) as error:
        QUESTIONS[command](missing, None, None)
    assert str(error.value).startswith(f"there is no {missing}; expected a results file, or a CSV or Parquet table")
    with pytest.raises(NotForecastableError) as nothing:
        QUESTIONS[command](empty, None, None)
    assert nothing.value.found in (f"there are no accuracies in {empty}", f"there are no results in {empty}")
    assert nothing.value.remedy == "run `forecast eval` or `forecast import` first"


def test_shots_in_a_task_s_name_are_heard_by_laws_too(tmp_path: Path) -> None:
    table = write(tmp_path / "runs.csv", lines_of("f", "arc_easy", sizes=(1e7, 1e8)), lines_of("f", "arc_easy", shots="5"))
    for path in (table, imported(table)):
        data = load_measurements(path, Selection(task="arc_easy 5-shot"), notice=silent)
        assert (data.num_fewshot, len(data)) == (5, 4)
        assert load_measurements(path, Selection(task="arc_easy"), notice=silent).num_fewshot == 0
        for ask in (
            lambda path=path: load_measurements(path, Selection(task="arc_easy 5-shot", num_fewshot=0), notice=silent),
            lambda path=path: load_ladders(path, Wanted(tasks=["arc_easy 5-shot"], num_fewshot=0)),
        ):
            with pytest.raises(UsageError, match="'arc_easy 5-shot' with `num_fewshot=` 0; expected one number of shots"):
                ask()


def test_shots_that_were_not_measured_are_refused_in_the_same_words(source: Path) -> None:
    said = set()
    for ask in (
        lambda: load_measurements(source, Selection(family="f", task="piqa", num_fewshot=5), notice=silent),
        lambda: load_ladders(source, Wanted(family="f", tasks=["piqa"], num_fewshot=5)),
    ):
        with pytest.raises(UsageError) as error:
            ask()
        said.add(str(error.value))
    assert said == {
        "f has no results on piqa with 5 shots; expected shots that were measured: 0; choose `num_fewshot=`, or leave it out"
    }


def test_a_table_and_its_import_give_the_same_columns(tmp_path: Path) -> None:
    table = write(tmp_path / "runs.csv", lines_of("f", "piqa"))
    here = load_measurements(table, Selection(), notice=silent)
    there = load_measurements(imported(table), Selection(), notice=silent)
    assert sorted(here.columns) == sorted(there.columns)
    assert {"params", "params_non_embedding", "lr"} <= set(there.columns)
    for name, column in here.columns.items():
        assert np.array_equal(column, there.columns[name], equal_nan=True), name
    assert (here.runs, here.chance, here.flops_convention) == (there.runs, there.chance, there.flops_convention)


def test_two_definitions_are_never_mixed_whoever_asks(tmp_path: Path) -> None:
    first = write(tmp_path / "first.csv", lines_of("f", "piqa"))
    second = write(tmp_path / "second.csv", lines_of("f", "piqa", sizes=(1e7, 1e8)))
    path = imported(first)
    Store(path).add_observations(read_observations(second), source="second.csv")
    notices: list[str] = []
    assert len(load_measurements(path, Selection(), notice=notices.append)) == 4
    (ladder,) = load_ladders(path, Wanted())
    said = "f, piqa: 4 results with first.csv are used, not mixed with 2 with second.csv"
    assert said in notices
    assert said in ladder.notes
    assert len(ladder) == 4


def test_measurements_without_an_accuracy_do_not_decide_which_accuracies_are_meant(tmp_path: Path) -> None:
    """Losses with the card's shots once hid the accuracies with others, in a results file only."""
    losses = [line.replace(line.split(",")[7], "", 1) for line in lines_of("f", "piqa", shots="0")]
    table = write(tmp_path / "runs.csv", losses, lines_of("f", "piqa", shots="5", sizes=(1e7, 1e8, 1e9)))
    for path in (table, imported(table)):
        (ladder,) = load_ladders(path, Wanted(tasks=["piqa"]))
        assert (ladder.num_fewshot, len(ladder)) == (5, 3)


def test_a_report_refuses_in_the_same_words(tmp_path: Path) -> None:
    source = imported(write(tmp_path / "runs.csv", lines_of("f", "piqa"), lines_of("g", "other")))
    with pytest.raises(UsageError, match=r"^unknown task 'pica'; expected one of other, piqa; did you mean 'piqa'\?$"):
        write_report(source, tmp_path / "out.html", tasks=["pica"])
    with pytest.raises(ForecastError, match=r"^unknown family 'ff'; expected one of f, g; did you mean 'f'\?$"):
        write_report(source, tmp_path / "out.html", families=["ff"])


def test_a_report_passes_over_what_a_family_lacks_without_a_word(tmp_path: Path) -> None:
    source = imported(write(tmp_path / "runs.csv", lines_of("f", "piqa"), lines_of("g", "other")))
    notices: list[str] = []
    found = load_families(source, Wanted(tasks=["piqa", "other"]), None, notice=notices.append)
    assert [[ladder.task for ladder in part.ladders] for part in found] == [["piqa"], ["other"]]
    assert not [text for text in notices if "left out" in text]


def test_no_task_named_means_all(tmp_path: Path) -> None:
    table = write(tmp_path / "runs.csv", lines_of("f", "piqa"), lines_of("f", "other"))
    assert [ladder.task for ladder in load_ladders(table, Wanted(tasks=[]))] == ["other", "piqa"]
    with pytest.raises(UsageError, match=r"holds 2 tasks \(other, piqa\); name one with `task=`"):
        load_measurements(table, Selection(), notice=silent)


def test_a_family_without_the_shots_asked_for_does_not_stop_a_report_on_others(tmp_path: Path) -> None:
    source = imported(write(tmp_path / "runs.csv", lines_of("f", "piqa"), lines_of("g", "piqa", shots="5")))
    notices: list[str] = []
    (found,) = load_families(source, Wanted(num_fewshot=5), None, notice=notices.append)
    assert found.ladders[0].family == "g"
    assert any(text.startswith("f, every task is left out: f has no results on piqa with 5 shots") for text in notices)
    with pytest.raises(UsageError, match="has no results on piqa with 7 shots"):
        load_families(source, Wanted(num_fewshot=7), None, notice=notices.append)
