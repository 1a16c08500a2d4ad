from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from forecast.core.errors import NotForecastableError
from forecast.core.observations import Ladder
from forecast.forecasting.emergence import find_emergence

Simulate = Callable[..., Ladder]


def _rising(simulate: Simulate, onset: float) -> Ladder:
    ladder = simulate(sizes=12, ratios=(20.0,), items=4000)
    x = np.log(ladder.flops / onset)
    truth = 0.25 + 0.65 * (1 - np.exp(-np.maximum(0.0, x) / 4.0))
    noise = 0.004 * np.random.default_rng(1).standard_normal(len(ladder))
    return replace(ladder, metrics={**ladder.metrics, "acc": truth + noise})


def test_finds_where_accuracy_leaves_chance(simulate: Simulate) -> None:
    ladder = _rising(simulate, onset=3e19)
    found = find_emergence(ladder, margin=0.05)
    crossing = 3e19 * np.exp(-4.0 * np.log(1 - 0.05 / 0.65))
    assert not found.censored
    assert found.compute is not None
    assert crossing / 4 < found.compute < crossing * 4
    assert found.lo <= found.compute
    assert found.metric_artefact is True


def test_runs_at_chance_are_right_censored(simulate: Simulate) -> None:
    ladder = _rising(simulate, onset=1e30)
    found = find_emergence(ladder)
    assert found.censored
    assert found.compute is None
    assert found.hi is None
    assert found.not_before == pytest.approx(ladder.flops.max())
    assert "before" in found.sentence


def test_without_chance_there_is_nothing_to_leave(simulate: Simulate) -> None:
    with pytest.raises(NotForecastableError, match="chance level"):
        find_emergence(replace(simulate(), chance=float("nan")))
