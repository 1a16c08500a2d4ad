"""A law asks a table for the columns that it needs, and for nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from forecast.api.fit import FitReport, FitRequest, fit_rows
from forecast.core.errors import FitError, UsageError
from forecast.laws import Law, get_law, list_laws
from forecast.laws.quantities import ALL
from forecast.observations.measurements import Selection

LEARNING_CURVES = (
    "cortes",
    "hestness",
    "banko-brill",
    "kaplan-tokens",
    "hernandez-transfer",
    "deepseek-lr",
    "erm-risk",
    "m1",
    "m2",
    "m3",
    "m4",
)


def _fit(path: Path, law: str, **options: object) -> FitReport:
    request = FitRequest(law=law, replicates=0, **options)  # type: ignore[arg-type]
    return fit_rows(path, Selection(finals_only=False), request, notice=lambda _text: None).report


def _table(path: Path, law: Law, y: str, *, rows: int = 14, named: bool = True, scale: float = 1.0) -> Path:
    """The law's own numbers, in a table that says nothing else, with or without the three names."""
    columns = {}
    for entry in law.inputs:
        low, high = entry.typical
        name = entry.accepts[0] if entry.accepts and entry.name == "examples" else entry.name
        columns[name] = np.geomspace(low, high, rows) if entry.positive else np.linspace(low, high, rows)
        if entry.name == "is_train":
            columns[name] = np.tile([0.0, 1.0], rows)[:rows]
    if len(columns) == 2 and all(entry.positive for entry in law.inputs):
        _, second = columns
        columns[second] = columns[second][np.random.default_rng(0).permutation(rows)]
    x = np.stack(list(columns.values()), axis=-1)
    columns[y] = (
        scale * law.predict(x, law.vector(law.typical)) * np.exp(0.001 * np.random.default_rng(1).standard_normal(rows))
    )
    names = ["family", "model", "task"] if named else []
    lines = [",".join([*names, *columns])]
    for row in range(rows):
        cells = [f"{column[row]:.10g}" for column in columns.values()]
        lines.append(",".join([*(["f", f"m{row}", "curve"] if named else []), *cells]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("name", LEARNING_CURVES)
def test_names_of_family_model_and_task_ask_for_nothing_more(tmp_path: Path, name: str) -> None:
    law = get_law(name)
    named = _fit(_table(tmp_path / "named.csv", law, law.outputs[0]), name)
    stripped = _fit(_table(tmp_path / "stripped.csv", law, law.outputs[0], named=False), name)
    for one, other in zip(named.constants, stripped.constants, strict=True):
        assert one.value == (None if other.value is None else pytest.approx(other.value, rel=1e-6))


@pytest.mark.parametrize("name", ["m1", "hestness", "power-law"])
def test_a_measurement_of_any_name_is_taken_at_the_users_word(tmp_path: Path, name: str) -> None:
    law = get_law(name)
    path = _table(tmp_path / "runs.csv", law, "top1_error_of_mine")
    with pytest.raises(UsageError, match="nothing that"):
        _fit(path, name)
    assert _fit(path, name, y="top1_error_of_mine").y == "top1_error_of_mine"


def test_few_tokens_are_fine_for_a_learning_curve_and_not_for_a_law_of_tokens(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    rows = [f"f,m{i},curve,{100 + 20 * i},{2 * (100 + 20 * i) ** -0.3:.8f}" for i in range(9)]
    path.write_text("family,model,task,tokens,loss\n" + "\n".join(rows) + "\n", encoding="utf-8")
    assert _fit(path, "m1").x == {"examples": "tokens"}
    billions = tmp_path / "billions.csv"
    rows = [f"f,m{i},curve,{3 + 2 * i},{2 * (3 + 2 * i) ** -0.3:.8f}" for i in range(9)]
    billions.write_text("family,model,task,tokens,loss\n" + "\n".join(rows) + "\n", encoding="utf-8")
    with pytest.raises(FitError, match="tokens is 3"):
        _fit(billions, "kaplan-tokens")


def test_percent_for_fractions_are_still_refused(tmp_path: Path) -> None:
    law = get_law("banko-brill")
    path = _table(tmp_path / "runs.csv", law, "acc", scale=100.0)
    with pytest.raises(FitError, match=r"acc is .* in row 'm0'.*0.63 and not 63"):
        _fit(path, "banko-brill")


def test_what_a_law_does_not_use_may_hold_anything(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    rows = [f"f,m{i},curve,{100 * 2**i},{0.9 * 2 ** (-0.2 * i):.8f},oops,63" for i in range(9)]
    path.write_text("family,model,task,tokens,loss,flops,acc\n" + "\n".join(rows) + "\n", encoding="utf-8")
    assert _fit(path, "m1").n_rows == 9


@pytest.mark.parametrize("law", list_laws(), ids=lambda law: law.name)
def test_a_law_takes_what_it_is_of_and_refuses_the_rest_by_name(tmp_path: Path, law: Law) -> None:
    assert law.outputs
    assert set(law.outputs) <= set(ALL)
    assert {name for entry in law.inputs for name in entry.accepts} <= set(ALL)
    free = [name for name in law.outputs if name not in {entry.name for entry in law.inputs}]
    right = _fit(_table(tmp_path / "right.csv", law, free[0]), law.name)
    assert right.y == free[0]
    wrong = next((name for name in ("learning_rate", "neg_log_pass_rate", "acc") if name not in law.outputs), None)
    if wrong is None:
        return  # a law of anything
    path = _table(tmp_path / "wrong.csv", law, wrong)
    with pytest.raises(UsageError, match="nothing that"):
        _fit(path, law.name)
    with pytest.raises(UsageError, match=f"{wrong}.* is something else"):
        _fit(path, law.name, y=wrong)


def test_a_pass_rate_is_not_fitted_to_a_loss(tmp_path: Path) -> None:
    path = _table(tmp_path / "runs.csv", get_law("gpt4-pass-rate"), "loss")
    with pytest.raises(UsageError, match=r"nothing that 'gpt4-pass-rate' predicts.*neg_log_pass_rate"):
        _fit(path, "gpt4-pass-rate")


def _plain(path: Path, header: str, rows: list[str]) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_a_choice_that_a_plain_table_cannot_follow_is_refused(tmp_path: Path) -> None:
    path = _plain(tmp_path / "t.csv", "tokens,loss", [f"{100 * 2**i},{2 + 5 / 2**i}" for i in range(8)])
    request = FitRequest(law="m2", replicates=0)
    for selection, said in (
        (Selection(task="a"), "no column 'task', so `task=` a"),
        (Selection(family="b"), "no column 'family', so `family=` b"),
        (Selection(num_fewshot=5), "no column 'num_fewshot', so `num_fewshot=` 5"),
    ):
        with pytest.raises(UsageError, match=said):
            fit_rows(path, selection, request, notice=lambda _text: None)


def test_compute_follows_from_parameters_and_tokens_with_names_and_without(tmp_path: Path) -> None:
    rows = [f"{n},{20 * n},{2 + 1e3 / n**0.5}" for n in (1e6, 1e7, 1e8, 1e9)]
    plain = _plain(tmp_path / "plain.csv", "params,tokens,loss", rows)
    named = _plain(
        tmp_path / "named.csv", "family,model,task,params,tokens,loss", [f"f,m{i},t,{row}" for i, row in enumerate(rows)]
    )
    fits = [_fit(path, "kaplan-compute") for path in (plain, named)]
    assert [found.flops_convention for found in fits] == ["6nd-total", "6nd-total"]
    assert fits[0].constants == fits[1].constants
    stated = _plain(
        tmp_path / "stated.csv",
        "params,tokens,flops,loss",
        [f"1e8,{k}e10,{k}e19,{2 + 1 / k}" for k in (1, 2, 4)],
    )
    assert _fit(stated, "kaplan-compute").flops_convention == "published"


def test_tasks_families_and_shots_of_a_plain_table_are_not_mixed(tmp_path: Path) -> None:
    rows = [
        f"{task},{shots},{100 * 2**i},{1 + k + 5 / 2**i}"
        for k, (task, shots) in enumerate((("a", 0), ("a", 5), ("b", 0)))
        for i in range(8)
    ]
    path = _plain(tmp_path / "t.csv", "task,num_fewshot,tokens,loss", rows)
    request = FitRequest(law="m2", replicates=0)
    with pytest.raises(UsageError, match="2 values of task"):
        fit_rows(path, Selection(), request, notice=lambda _text: None)
    report = fit_rows(path, Selection(task="a", num_fewshot=5), request, notice=lambda _text: None).report
    assert (report.task, report.num_fewshot, report.n_rows) == ("a", 5, 8)
    for selection, said in (
        (Selection(task="a"), "2 values of num_fewshot"),
        (Selection(task="a", num_fewshot=7), "no row with num_fewshot 7"),
        (Selection(task="c"), "no row with task c"),
    ):
        with pytest.raises(UsageError, match=said):
            fit_rows(path, selection, request, notice=lambda _text: None)
