"""Which accuracy, shots and chance are meant: the user's, else the data's, else the card's, else the table's order."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from forecast.api.ingest import import_paths
from forecast.api.predict import predict
from forecast.cli.app import build_app
from forecast.core.errors import ForecastError, UsageError
from forecast.core.forecasts import Target
from forecast.core.observations import Ladder
from forecast.core.progress import SilentProgress
from forecast.observations.ladders import Wanted, load_ladders
from forecast.observations.measures import Origin, by_rule, check_chance, choose_measures, choose_shots
from forecast.store import Store

SIZES = 2.0 ** np.arange(7) * 3e7
HEADER = "family,model,task,params,tokens,acc,acc_norm,nll_per_char,nll_choice_norm,n_items,num_fewshot"


def ladder_of(task: str, *, chance: float = float("nan"), acc: float = 0.3, shots: int | None = 0) -> Ladder:
    rise = np.linspace(0.0, 0.3, len(SIZES))
    return Ladder(
        family="f",
        task=task,
        model=tuple(f"m{i}" for i in range(len(SIZES))),
        params=SIZES,
        tokens=20 * SIZES,
        flops=120 * SIZES**2,
        step=np.full(len(SIZES), np.nan),
        is_final=np.ones(len(SIZES), dtype=bool),
        metrics={
            "acc": acc + rise,
            "acc_norm": acc + 0.05 + rise,
            "nll_per_char": 1.2 - rise,
            "nll_choice_norm": 1.3 - rise,
        },
        n_items=np.full(len(SIZES), 1000.0),
        chance=chance,
        num_fewshot=shots,
    )


def rows_of(ladder: Ladder) -> list[str]:
    names = ("acc", "acc_norm", "nll_per_char", "nll_choice_norm")
    return [
        ",".join(
            [
                ladder.family,
                ladder.model[i],
                ladder.task,
                f"{ladder.params[i]:.0f}",
                f"{ladder.tokens[i]:.0f}",
                *(f"{ladder.metrics[name][i]:.6f}" for name in names),
                "1000",
                "" if ladder.num_fewshot is None else str(ladder.num_fewshot),
            ]
        )
        for i in range(len(ladder))
    ]


def source_of(folder: Path, kind: str, *ladders: Ladder) -> Path:
    """A table of the ladders, or a results file that it was imported into."""
    path = folder / "runs.csv"
    path.write_text("\n".join([HEADER, *(row for ladder in ladders for row in rows_of(ladder))]) + "\n", encoding="utf-8")
    if kind == "table":
        return path
    import_paths([path], db=folder / "runs.duckdb", progress=SilentProgress())
    return folder / "runs.duckdb"


def test_the_card_names_what_the_user_does_not() -> None:
    found = choose_measures(ladder_of("arc_challenge@5shot", shots=None))
    assert (found.metric, found.metric_from) == ("acc_norm", Origin.CARD)
    assert (found.chance, found.chance_from) == (0.25, Origin.CARD)
    assert (found.num_fewshot, found.nll_metric) == (5, "nll_per_char")
    mine = choose_measures(ladder_of("arc_challenge"), metric="acc", chance=0.2)
    assert (mine.metric, mine.metric_from, mine.chance, mine.chance_from) == ("acc", Origin.USER, 0.2, Origin.USER)
    assert mine.notes == ("Chance is 0.2 by the user, but 0.25 by the task's card; 0.2 is used.",)


def test_without_a_card_the_order_decides_and_an_unknown_chance_is_said() -> None:
    found = choose_measures(ladder_of("riddles"))
    assert (found.metric, found.metric_from, found.chance_from) == ("acc", Origin.ORDER, Origin.NOWHERE)
    assert np.isnan(found.chance)
    assert "The chance level of riddles is not known" in found.notes[0]


def test_the_datas_chance_counts_before_the_cards_and_a_contradiction_is_said() -> None:
    assert choose_measures(ladder_of("mmlu_anatomy", chance=0.2508)).notes == ()
    found = choose_measures(ladder_of("csqa", chance=0.25))
    assert (found.chance, found.chance_from) == (0.25, Origin.DATA)
    assert found.notes == ("Chance is 0.25 by the data, but 0.2 by the task's card; 0.25 is used.",)


def test_a_card_is_not_followed_to_what_was_not_measured() -> None:
    ladder = ladder_of("arc_easy")
    only = replace(ladder, metrics={"acc": ladder.metrics["acc"], "acc_norm": np.full(len(ladder), np.nan)})
    assert by_rule(only).accuracy_metric == "acc"
    assert by_rule(only).nll_metric is None


@pytest.mark.parametrize("chance", [1.0, -0.1, 25.0, float("nan")])
def test_a_chance_that_is_not_a_fraction_is_refused(chance: float) -> None:
    with pytest.raises(UsageError, match="a fraction from 0 to below 1"):
        check_chance(chance)


def test_shots_are_the_cards_else_those_of_most_runs() -> None:
    by_card, by_runs = choose_shots("mmlu", {0: 9, 5: 3}), choose_shots("gsm8k", {0: 2, 8: 6})
    assert by_card is not None
    assert (by_card.num_fewshot, "as its card says" in by_card.note) == (5, True)
    assert by_runs is not None
    assert (by_runs.num_fewshot, "which most runs have" in by_runs.note) == (8, True)
    only = choose_shots("mmlu", {0: 4})
    assert only is not None
    assert only.note == "mmlu was measured with 0 shots; its card names 5 as usual."
    assert choose_shots("arc@5shot", {None: 4}, asked=0) is None
    unknown, named = choose_shots("arc", {None: 4}, asked=5), choose_shots("arc@5shot", {None: 4}, asked=5)
    assert unknown is not None
    assert "that they are 5 is not known" in unknown.note
    assert named is not None
    assert not named.note


@pytest.mark.parametrize("kind", ["table", "database"])
def test_of_several_numbers_of_shots_one_is_taken_and_said(tmp_path: Path, kind: str) -> None:
    both = [ladder_of("arc_easy", acc=0.3), ladder_of("arc_easy", acc=0.4, shots=5)]
    source = source_of(tmp_path, kind, *both)
    (found,) = load_ladders(source, Wanted(tasks=["arc_easy"]))
    assert found.num_fewshot == 0
    assert any("was measured with 0 and 5 shots, never mixed; 0 are taken, as its card says" in note for note in found.notes)
    for wanted in (Wanted(tasks=["arc_easy"], num_fewshot=5), Wanted(tasks=["ARC-Easy (5-shot)"])):
        (five,) = load_ladders(source, wanted)
        assert (five.num_fewshot, five.metrics["acc"].min()) == (5, pytest.approx(0.4))
    with pytest.raises(UsageError, match="with 3 shots"):
        load_ladders(source, Wanted(tasks=["arc_easy"], num_fewshot=3))
    with pytest.raises(UsageError, match="one number of shots"):
        load_ladders(source, Wanted(tasks=["arc_easy@5shot"], num_fewshot=0))


@pytest.mark.parametrize("kind", ["table", "database"])
def test_a_task_is_found_in_other_spellings(tmp_path: Path, kind: str) -> None:
    tables = [ladder_of("arc_challenge@0shot", shots=None), ladder_of("arc_challenge@5shot", shots=None), ladder_of("PIQA")]
    source = source_of(tmp_path, kind, *tables)

    def task(name: str, shots: int | None = None) -> str:
        (ladder,) = load_ladders(source, Wanted(tasks=[name], num_fewshot=shots))
        return ladder.task

    assert task("ARC-Challenge") == "arc_challenge@0shot"
    (said,) = load_ladders(source, Wanted(tasks=["ARC-Challenge"]))
    assert said.notes == (
        "ARC-Challenge was measured with 0 and 5 shots, never mixed; 0 are taken, as its card says (`num_fewshot=` chooses).",
    )
    assert load_ladders(source, Wanted(tasks=["arc_challenge@5shot"]))[0].notes == ()
    assert task("arc_c", 5) == task("ARC-c 5-shot") == "arc_challenge@5shot"
    assert task("piqa") == "PIQA"
    assert len(load_ladders(source, Wanted(tasks=["piqa", "PIQA"]))) == 1
    with pytest.raises(UsageError, match="arc_easy"):
        task("arc_easy")


def test_a_name_that_may_mean_several_is_refused(tmp_path: Path) -> None:
    source = source_of(tmp_path, "table", ladder_of("quiz@1shot", shots=None), ladder_of("quiz@3shot", shots=None))
    with pytest.raises(UsageError, match="'quiz' may mean quiz@1shot or quiz@3shot; name the one"):
        load_ladders(source, Wanted(tasks=["quiz"]))


def test_without_chance_no_verdict_is_predictable(tmp_path: Path) -> None:
    source = source_of(tmp_path, "table", ladder_of("riddles"))
    target = [Target(name="x", flops=1e21)]
    (unknown,) = predict(source, tasks=["riddles"], targets=target)
    assert unknown.forecast.chance is None
    assert unknown.forecast.verdict != "predictable"
    assert any("chance level of riddles is not known" in text for text in unknown.forecast.warnings)
    (stated,) = predict(source, tasks=["riddles"], targets=target, chance=0.25)
    assert stated.forecast.chance == 0.25
    assert not any("chance" in text for text in (*stated.forecast.warnings, *stated.forecast.reasons))


def test_runs_at_the_cards_chance_are_not_predictable(tmp_path: Path) -> None:
    flat = ladder_of("logiqa@0shot")
    noise = np.random.default_rng(0).normal(0.25, 0.005, len(flat))
    source = source_of(tmp_path, "table", replace(flat, metrics={**flat.metrics, "acc": noise}))
    (found,) = predict(source, tasks=["logiqa"], targets=[Target(name="x", flops=1e21)])
    assert found.forecast.verdict == "not-predictable"
    assert "Every run is at chance (25.0%)" in found.forecast.reasons[0]


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(build_app(), [str(argument) for argument in arguments])
    if isinstance(result.exception, ForecastError):
        return result.exception.exit_code, result.stdout, str(result.exception)
    return result.exit_code, result.stdout, result.stderr


def test_outputs_name_metric_shots_and_chance(tmp_path: Path) -> None:
    source = source_of(tmp_path, "table", ladder_of("arc_easy"), ladder_of("mmlu_anatomy", shots=5))
    common = ("--table", source, "--flops", "1e21", "-q")
    code, text, _ = run("predict", "--task", "arc_easy,mmlu_anatomy", *common, "--json")
    first, second = json.loads(text)
    assert code == 0
    assert [first[key] for key in ("metric", "num_fewshot", "chance")] == ["acc_norm", 0, 0.25]
    assert [second[key] for key in ("metric", "num_fewshot", "chance")] == ["acc", 5, 0.25]
    assert (first["nll"]["metric"], second["nll"]["metric"]) == ("nll_per_char", "nll_choice_norm")
    _, text, _ = run("predict", "--task", "arc_easy", *common)
    assert all(word in text for word in ("metric", "shots", "chance %", "acc_norm", "25.0"))
    _, text, _ = run("backtest", "--task", "arc_easy", "--table", source, "-q", "--method", "direct")
    assert "arc_easy: acc_norm, 0 shots, chance 25 %" in text
    _, text, _ = run(
        "backtest", "--task", "arc_easy", "--table", source, "-q", "--method", "direct", "--json", "--chance", "0.2"
    )
    report = json.loads(text)
    assert {(record["metric"], record["num_fewshot"], record["chance"]) for record in report["records"]} == {
        ("acc_norm", 0, 0.2)
    }
    assert report["warnings"] == ["arc_easy: Chance is 0.2 by the user, but 0.25 by the task's card; 0.2 is used."]


def test_chance_needs_the_tasks_that_it_is_of(tmp_path: Path) -> None:
    source = source_of(tmp_path, "table", ladder_of("arc_easy"))
    code, _, error = run("predict", "--table", source, "--flops", "1e21", "--chance", "0.25")
    assert (code, "--chance without a task" in error) == (2, True)


def test_a_report_reads_the_cards_too(tmp_path: Path) -> None:
    db = source_of(tmp_path, "database", ladder_of("arc_easy", acc=0.3), ladder_of("arc_easy", acc=0.4, shots=5))
    code, _, _ = run("report", "--db", db, "--task", "ARC-Easy", "--out", tmp_path / "page.html", "-q")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert code == 0
    assert "<code>acc_norm</code> with 0 shots" in page
    assert "as its card says" in page
    code, _, _ = run("report", "--db", db, "--task", "arc_easy 5-shot", "--out", tmp_path / "page.html", "-q")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert code == 0
    assert "<code>acc_norm</code> with 5 shots" in page


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict", "--task", ",", "--flops", "1e21"),
        ("predict", "--task", "", "--flops", "1e21"),
        ("backtest", "--task", " , "),
        ("backtest", "--method", ","),
        ("report", "--task", ","),
        ("report", "--family", ","),
        ("train", "no_such_family.yaml", "--members", ","),
        ("eval", "--tasks", ",", "--model", "x"),
    ],
)
def test_a_list_that_names_nothing_does_not_mean_all(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    source = source_of(tmp_path, "table", ladder_of("arc_easy"))
    where = ("--table", source) if arguments[0] in ("predict", "backtest") else ()
    code, _, error = run(*arguments, *where)
    assert code == 2
    assert "expected at least one name" in error


def test_rows_left_out_are_counted_in_the_json(tmp_path: Path) -> None:
    lines = rows_of(ladder_of("arc_easy"))
    cells = [line.split(",") for line in lines]
    blank = [*cells[0][:6], "", *cells[0][7:]]
    untrained = [*cells[1][:1], "m1", cells[1][2], cells[1][3], "0", *cells[1][5:]]
    path = tmp_path / "runs.csv"
    rows = [",".join(row) for row in (blank, untrained, *cells[1:])]
    path.write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")
    code, text, _ = run("predict", "--table", path, "--task", "arc_easy", "--flops", "1e21", "--json")
    assert code == 0
    warnings = json.loads(text)["warnings"]
    assert "Left out: 1 of 8 checkpoints (no finite acc_norm)." in warnings
    assert "Left out: 1 of 8 checkpoints (untrained, at step 0)." in warnings
    _, text, _ = run("backtest", "--table", path, "--task", "arc_easy", "--method", "direct", "--json")
    assert "arc_easy: Left out: 1 of 8 checkpoints (no finite acc_norm)." in json.loads(text)["warnings"]


def test_definitions_that_are_not_mixed_are_in_the_warnings(tmp_path: Path) -> None:
    for name, count in (("a", 7), ("b", 5)):
        folder = tmp_path / name
        folder.mkdir()
        part = ladder_of("arc_easy").take(np.arange(count))
        source = source_of(folder, "table", part)
        import_paths([source.rename(folder / f"{name}.csv")], db=tmp_path / "all.duckdb", progress=SilentProgress())
    (found,) = predict(tmp_path / "all.duckdb", tasks=["arc_easy"], targets=[Target(name="x", flops=1e21)])
    assert any("not mixed with" in text for text in found.forecast.warnings)
    assert len(Store(tmp_path / "all.duckdb").ladders()) == 1


def test_an_onset_that_cannot_be_said_is_explained(tmp_path: Path) -> None:
    source = source_of(tmp_path, "table", ladder_of("riddles"))
    arguments = ("predict", "--table", source, "--task", "riddles", "--flops", "1e21", "--emergence", "--json")
    _, text, _ = run(*arguments)
    found = json.loads(text)
    assert found["emergence"] is None
    assert "the chance level of riddles is unknown; state it with --chance" in found["warnings"][-1]
    _, text, _ = run(*arguments, "--chance", "0.25")
    assert json.loads(text)["emergence"]["metric"] == "acc"


@pytest.mark.parametrize("kind", ["table", "database"])
def test_siblings_left_out_for_their_shots_are_counted(tmp_path: Path, kind: str) -> None:
    beside = [ladder_of(task, shots=shots) for task in ("piqa", "sciq") for shots in (0, 5)]
    source = source_of(tmp_path, kind, ladder_of("arc_easy"), *beside)
    (found,) = predict(source, tasks=["arc_easy"], targets=[Target(name="x", flops=1e21)])
    assert found.forecast.backtest.other_tasks == 0
    assert any(text.startswith("Left out: 2 other tasks of the family") for text in found.forecast.warnings)
    (decided,) = predict(source, tasks=["arc_easy"], targets=[Target(name="x", flops=1e21)], num_fewshot=0)
    assert decided.forecast.backtest.other_tasks == 2
    assert not any("other tasks" in text for text in decided.forecast.warnings)
