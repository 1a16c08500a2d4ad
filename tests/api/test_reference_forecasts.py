"""Forecasts with other families through `predict`: few runs, many runs, wishes that cannot be met."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from forecast.api.predict import predict
from forecast.core.errors import NotForecastableError, UsageError
from forecast.core.forecasts import Target, Verdict
from forecast.observations.reference_choice import choose_references, is_same_family
from forecast.observations.reference_runs import ReferenceRuns, library_runs

HEAD = "family,model,task,num_fewshot,params,tokens,acc,chance\n"
SIZES = [(1e9, 1e12), (3e9, 1e12), (7e9, 1e12), (13e9, 1e12), (30e9, 1e12)]
TARGET = [Target(name="big", params=70e9, tokens=2e12)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write(path: Path, accuracies, *, family="mine", task="winogrande", shots=5, chance=0.5) -> Path:
    rows = [
        f"{family},{family}-{i},{task},{shots},{n:g},{d:g},{acc},{chance}\n"
        for i, ((n, d), acc) in enumerate(zip(SIZES, accuracies, strict=False))
    ]
    path.write_text(HEAD + "".join(rows), encoding="utf-8")
    return path


def test_one_run_is_enough_to_ask(tmp_path):
    (found,) = predict(write(tmp_path / "t.csv", [0.6]), tasks="winogrande", targets=TARGET)
    made = found.forecast
    assert made.method == "references"
    assert "Llama" in made.references
    assert "mine" not in made.references
    assert 0.65 < made.accuracy.point < 0.85
    assert made.accuracy.lo < made.accuracy.point < made.accuracy.hi
    assert made.without_references is None


def test_without_references_one_run_is_refused_as_before(tmp_path):
    with pytest.raises(NotForecastableError, match="1 usable run"):
        predict(write(tmp_path / "t.csv", [0.6]), tasks="winogrande", targets=TARGET, reference="none")


def test_from_three_runs_references_are_used_only_when_asked_for(tmp_path):
    table = write(tmp_path / "t.csv", [0.58, 0.63, 0.68, 0.71, 0.75])
    (alone,), (both,) = (predict(table, tasks="winogrande", targets=TARGET, reference=r) for r in (None, "all"))
    assert alone.forecast.references == ()
    assert both.forecast.references
    assert both.forecast.without_references == alone.forecast.accuracy
    assert any("without them" in reason for reason in both.forecast.reasons)


def test_own_runs_that_contradict_the_references_take_their_weight(tmp_path):
    stuck = write(tmp_path / "t.csv", [0.52, 0.51, 0.525, 0.515, 0.52])
    (found,) = predict(stuck, tasks="winogrande", targets=TARGET, reference="all")
    alone = found.forecast.without_references
    assert alone is not None
    assert abs(found.forecast.accuracy.point - alone.point) < 0.02


def test_a_benchmark_at_chance_is_told_where_others_left_it(tmp_path):
    table = write(tmp_path / "t.csv", [0.25, 0.26], task="mmlu", chance=0.25)
    (found,) = predict(table, tasks="mmlu", targets=TARGET)
    assert any("left chance between" in reason and "; yours by" in reason for reason in found.forecast.reasons)
    assert found.forecast.verdict is not Verdict.PREDICTABLE


def test_named_references_alone_are_used(tmp_path):
    table = write(tmp_path / "t.csv", [0.6])
    (found,) = predict(table, tasks="winogrande", targets=TARGET, reference="Llama,OPT")
    assert found.forecast.references == ("Llama", "OPT")


@pytest.mark.parametrize(
    ("family", "reference", "match"),
    [("mine", "Lama", "did you mean 'Llama'"), ("pythia", "Pythia", "is the family that is forecast")],
)
def test_a_wish_that_cannot_be_met_is_a_usage_error(tmp_path, family, reference, match):
    table = write(tmp_path / "t.csv", [0.6], family=family)
    with pytest.raises(UsageError, match=match):
        predict(table, tasks="winogrande", targets=TARGET, reference=reference)


def test_a_method_by_name_takes_no_references(tmp_path):
    table = write(tmp_path / "t.csv", [0.58, 0.63, 0.68, 0.71, 0.75])
    with pytest.raises(UsageError, match="method 'direct'"):
        predict(table, tasks="winogrande", targets=TARGET, reference="all", method="direct")


def test_a_table_of_other_families_lends_strength(tmp_path):
    table = write(tmp_path / "t.csv", [0.6], task="my_quiz")
    with pytest.raises(NotForecastableError, match="1 usable run"):
        predict(table, tasks="my_quiz", targets=TARGET)
    others = write(tmp_path / "others.csv", [0.58, 0.63, 0.68, 0.71, 0.75], family="others", task="my_quiz")
    (found,) = predict(table, tasks="my_quiz", targets=TARGET, reference_table=others)
    assert found.forecast.references == ("others",)
    assert any("Only one reference" in warning for warning in found.forecast.warnings)


def test_another_metric_or_other_shots_are_said(tmp_path):
    table = write(tmp_path / "t.csv", [0.5], task="hellaswag", shots=0, chance=0.25)
    (found,) = predict(table, tasks="hellaswag", targets=TARGET)
    assert any("with another metric than acc" in warning for warning in found.forecast.warnings)


def own(family: str, models: list[str], sizes: list[tuple[float, float]], task: str = "winogrande") -> ReferenceRuns:
    n, d = (np.array(column) for column in zip(*sizes, strict=True))
    return ReferenceRuns(
        family=family,
        task=task,
        source="own",
        num_fewshot=0,
        metric="acc",
        model=tuple(models),
        params=n,
        tokens=d,
        flops=6 * n * d,
        accuracy=np.full(len(models), 0.6),
        n_items=np.full(len(models), 1000.0),
        chance=0.5,
    )


@pytest.mark.parametrize(
    "mine",
    [
        own("Pythia", ["x"], [(1e9, 3e11)]),
        own("eleuther_suite", ["EleutherAI/pythia-1b-deduped"], [(1e9, 3e11)]),
        own("secret", ["a", "b", "c", "d"], [(70e6, 3e11), (162e6, 3e11), (405e6, 3e11), (1.01e9, 3e11)]),
    ],
    ids=["by name", "by a model", "by its ladder of sizes"],
)
def test_a_family_is_no_reference_of_its_own_in_any_source(mine):
    chosen = choose_references(library_runs(), [mine])
    assert {"Pythia", "pythia", "pythia-deduped"} <= set(chosen.excluded)
    assert not any("pythia" in entry.family.lower() for entry in chosen.runs)


def test_families_that_share_a_single_size_are_not_one():
    one, two = own("a", ["a-7b"], [(7e9, 1e12)]), own("b", ["b-7b"], [(7e9, 1e12)])
    assert not is_same_family([one], [two])


def test_a_family_that_stands_in_two_sources_counts_once():
    mine = own("mine", ["m"], [(1e9, 1e12)])
    chosen = choose_references(library_runs(), [mine])
    assert sum("pythia" in entry.family.lower() for entry in chosen.runs) == 1
