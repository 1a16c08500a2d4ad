"""Forecasts of published families, fitted on their smaller members only. Slow: run by hand or with `make test-slow`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from forecast.core.observation_rows import to_ladders
from forecast.core.observations import Ladder
from forecast.forecasting.ensemble import member_names
from forecast.forecasting.predictive import predict_points
from forecast.forecasting.preparation import prepare
from forecast.forecasting.sample import Points
from forecast.importers import read_observations

pytestmark = pytest.mark.slow

Split = Callable[[Ladder], tuple[Ladder, Ladder]]


def _ladders(folder: Path, name: str) -> list[Ladder]:
    path = folder / "published" / name
    if not path.is_file():
        pytest.skip(f"no {path}")
    return [ladder for ladder in to_ladders(read_observations(path)) if "acc" in ladder.metrics]


def _errors(ladders: list[Ladder], split: Split) -> tuple[float, float, float]:
    """Mean absolute errors of auto and of persistence, and coverage of 90 % intervals."""
    found, naive, covered = [], [], []
    for ladder in ladders:
        fitted, targets = split(ladder)
        sample = prepare(fitted, metric="acc").sample
        points = Points(log_flops=np.log(targets.flops), log_params=np.log(targets.params), log_tokens=np.log(targets.tokens))
        prediction = predict_points(sample, points, member_names(sample, "auto"), replicates=24, rng=np.random.default_rng(0))
        truth = targets.metrics["acc"]
        found.append(np.abs(prediction.point - truth).mean())
        naive.append(np.abs(sample.accuracy[0][np.argmax(sample.log_flops)] - truth).mean())
        covered.append(np.mean([prediction.at(k).holds(value, 0.9) for k, value in enumerate(truth)]))
    return float(np.mean(found)), float(np.mean(naive)), float(np.mean(covered))


@pytest.mark.parametrize(("largest", "limit"), [(9.2e8, 0.0105), (1.5e9, 0.011), (4.8e8, 0.014)])
def test_olmo_ladder(data_folder: Path, largest: float, limit: float) -> None:
    def split(ladder: Ladder) -> tuple[Ladder, Ladder]:
        return ladder.take(ladder.params <= largest), ladder.take((ladder.params > largest) & ladder.is_final)

    error, naive, covered = _errors(_ladders(data_folder, "olmo_ladder2024.csv.gz"), split)
    assert error < limit
    assert error < 0.4 * naive
    assert covered >= 0.8


@pytest.mark.parametrize(("largest", "beyond", "limit"), [(1.42e9, 2e10, 0.018), (4.1e8, 7e9, 0.025)])
def test_pythia(data_folder: Path, largest: float, beyond: float, limit: float) -> None:
    def split(ladder: Ladder) -> tuple[Ladder, Ladder]:
        small = (ladder.params <= largest) & (ladder.step >= 3000)
        large = (ladder.params > 1.1 * largest) & (ladder.params < beyond) & ladder.is_final
        if largest < 1e9:
            large &= ladder.params > 1.2e9
        return ladder.take(small), ladder.take(large)

    ladders = [ladder for ladder in _ladders(data_folder, "pythia_v1.csv.gz") if not ladder.task.startswith("wsc")]
    error, naive, covered = _errors(ladders, split)
    assert error < limit
    assert error < 0.5 * naive
    assert covered >= 0.8


def test_gadre_average_of_17_tasks(data_folder: Path) -> None:
    def split(ladder: Ladder) -> tuple[Ladder, Ladder]:
        return ladder.take(ladder.params <= 4.2e8), ladder.take(ladder.params > 1e9)

    ladders = [ladder for ladder in _ladders(data_folder, "gadre2024.csv.gz") if ladder.task == "avg_17"]
    error, naive, _ = _errors(ladders, split)
    assert error < 0.0165
    assert error < 0.4 * naive
