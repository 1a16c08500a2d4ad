"""Rows into ladders: one kind of parameters and FLOPs each, definitions apart, nothing guessed."""

from __future__ import annotations

import numpy as np
import pytest

from forecast.core.observation_rows import ObservationRow, to_ladders


def row(model: str, **known: object) -> ObservationRow:
    return ObservationRow(**{"family": "f", "model": model, "task": "t", "metrics": {"acc": 0.5}, **known})  # type: ignore[arg-type]


def test_shots_and_definitions_stay_apart() -> None:
    rows = [row("a", flops=1e18, num_fewshot=shots, definition=name) for shots in (0, 5) for name in ("x", "y")]
    ladders = to_ladders(rows)
    assert [(ladder.num_fewshot, ladder.definition) for ladder in ladders] == [(0, "x"), (0, "y"), (5, "x"), (5, "y")]


def test_missing_flops_are_counted_as_the_neighbours_are() -> None:
    rows = [row("a", flops=6e17, params=1e8, tokens=1e9), row("b", params=2e8, tokens=1e9)]
    (ladder,) = to_ladders(rows)
    assert ladder.flops.tolist() == [6e17, 1.2e18]
    assert ladder.flops_convention == "6nd-total"


def test_missing_flops_beside_another_convention_stay_unknown_and_are_said() -> None:
    notices: list[str] = []
    rows = [row("a", flops=9e17, params=1e8, tokens=1e9), row("b", params=2e8, tokens=1e9)]
    (ladder,) = to_ladders(rows, notice=notices.append)
    assert np.isnan(ladder.flops[1])
    assert "1 rows state no FLOPs" in notices[0]


def test_two_conventions_are_counted_anew_where_that_is_possible() -> None:
    notices: list[str] = []
    rows = [
        row("a", flops=5e17, flops_convention="6nd-non-embedding", params=1e8, tokens=1e9),
        row("b", flops=1.2e18, flops_convention="6nd-total", params=2e8, tokens=1e9),
    ]
    (ladder,) = to_ladders(rows, notice=notices.append)
    assert ladder.flops == pytest.approx([6e17, 1.2e18])
    assert ladder.flops_convention == "6nd-total"
    assert "recomputed" in notices[0]


def test_parameters_without_embeddings_serve_where_they_are_all_that_is_known() -> None:
    (ladder,) = to_ladders([row("a", params_non_embedding=1e8, tokens=1e9)])
    assert ladder.params_kind == "non-embedding"
    assert ladder.flops.tolist() == [6e17]
    assert ladder.flops_convention == "6nd-non-embedding"


def test_the_last_row_of_a_run_is_final_unless_told() -> None:
    rows = [row("a", flops=n * 1e18, tokens=n * 1e9) for n in (1, 3, 2)] + [row("b", flops=5e18, is_final=False)]
    (ladder,) = to_ladders(rows)
    assert dict(zip(ladder.flops.tolist(), ladder.is_final.tolist(), strict=True)) == {
        1e18: False, 2e18: False, 3e18: True, 5e18: False,
    }  # fmt: skip


def test_different_chance_levels_count_as_unknown() -> None:
    notices: list[str] = []
    (ladder,) = to_ladders([row("a", flops=1e18, chance=0.25), row("b", flops=2e18, chance=0.2)], notice=notices.append)
    assert np.isnan(ladder.chance)
    assert notices


def test_rows_that_contradict_each_other_are_counted_beside_every_number_made_from_them() -> None:
    twice = [row("a", flops=1e18, metrics={"acc": acc}) for acc in (0.3, 0.6, 0.3)]
    (ladder,) = to_ladders([*twice, row("b", flops=2e18)])
    assert ["2 rows measure a checkpoint" in note for note in ladder.notes] == [True]
    apart = [row("a", flops=1e18, metrics={"acc": acc}, metadata={"seed": seed}) for acc, seed in ((0.3, 0), (0.6, 1))]
    completed = [row("b", flops=2e18), row("b", flops=2e18, metrics={"nll_per_char": 1.0})]
    (ladder,) = to_ladders([*apart, *completed])
    assert ladder.notes == ()
