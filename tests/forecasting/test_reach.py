"""How far a ladder reaches counts only checkpoints that have an accuracy and known compute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from forecast.core.observations import Ladder
from forecast.forecasting.reach import reach_of


def test_a_larger_run_without_an_accuracy_does_not_count(simulate: Callable[..., Ladder]) -> None:
    ladder = simulate()
    metric = reach_of(ladder).metric
    order = np.argsort(ladder.flops)
    hidden = ladder.metrics[metric].copy()
    hidden[order[-1]] = np.nan
    found = reach_of(replace(ladder, metrics={**ladder.metrics, metric: hidden}))
    assert found.max_flops == ladder.flops[order[-2]]
    assert found.largest_model == ladder.model[order[-2]]
    assert found.largest_accuracy == ladder.metrics[metric][order[-2]]
    assert found.min_flops == ladder.flops[order[0]]


def test_without_known_compute_there_is_no_largest_run(simulate: Callable[..., Ladder]) -> None:
    ladder = simulate()
    found = reach_of(replace(ladder, flops=np.full(len(ladder), np.nan)))
    assert found.largest_model is None
    assert np.isnan([found.min_flops, found.max_flops]).all()
