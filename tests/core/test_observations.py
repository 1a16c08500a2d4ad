"""A ladder keeps its columns in step."""

from __future__ import annotations

import numpy as np
import pytest

from forecast.core.errors import ForecastError
from forecast.core.observations import ItemMatrix, Ladder


def make_ladder(rows: int = 4) -> Ladder:
    column = np.arange(rows, dtype=float) + 1
    return Ladder(
        family="f",
        task="t",
        model=tuple(f"m{i}" for i in range(rows)),
        params=column,
        tokens=column * 20,
        flops=column * column * 120,
        step=column,
        is_final=np.ones(rows, dtype=bool),
        metrics={"acc": column / 10},
        sems={"acc": column / 100},
        n_items=np.full(rows, 3.0),
        chance=0.25,
        items=ItemMatrix(correct={"acc": np.arange(rows * 3, dtype=float).reshape(rows, 3)}, nll={}),
    )


def test_take_keeps_every_column_in_step() -> None:
    ladder = make_ladder()
    for index in (np.array([2, 0]), np.array([True, False, True, False])):
        part = ladder.take(index)
        rows = np.flatnonzero(index) if index.dtype == bool else index
        assert part.model == tuple(ladder.model[i] for i in rows)
        assert np.array_equal(part.metrics["acc"], ladder.metrics["acc"][rows])
        assert part.items is not None
        assert ladder.items is not None
        assert np.array_equal(part.items.correct["acc"], ladder.items.correct["acc"][rows])
        assert part.n_items is not None
        assert len(part) == len(part.n_items) == len(rows)


def test_a_short_column_is_refused_by_name() -> None:
    ladder = make_ladder()
    with pytest.raises(ForecastError, match="'tokens' has shape"):
        Ladder(
            family="f",
            task="t",
            model=ladder.model,
            params=ladder.params,
            tokens=ladder.tokens[:2],
            flops=ladder.flops,
            step=ladder.step,
            is_final=ladder.is_final,
            metrics={},
        )
