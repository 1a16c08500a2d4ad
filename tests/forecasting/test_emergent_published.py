"""Published families on tasks that are called emergent: the forecast is honest there, and sharper than the last value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from forecast.core.distribution import Distribution
from forecast.core.observations import Ladder
from forecast.forecasting.ensemble import member_names
from forecast.forecasting.predictive import predict_points
from forecast.forecasting.preparation import prepare
from forecast.forecasting.sample import Points

pytestmark = pytest.mark.slow

Scored = tuple[float, float, Distribution]
"""Truth, the largest fitted run's accuracy, and what was expected."""


def _ladders(folder: Path, tasks: list[str]) -> list[Ladder]:
    import pyarrow.csv

    path = folder / "published" / "obsscaling2024.csv.gz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    rows = [row for row in pyarrow.csv.read_csv(path).to_pylist() if row["flops"] and row["task"] in tasks]
    found = []
    for family, task in sorted({(row["family"], row["task"]) for row in rows}):
        own = sorted((row for row in rows if (row["family"], row["task"]) == (family, task)), key=lambda row: row["flops"])
        if len(own) < 4:
            continue
        columns = {
            name: np.array([np.nan if row[name] is None else row[name] for row in own], dtype=float)
            for name in ("params", "tokens", "flops", "acc", "chance")
        }
        found.append(
            Ladder(
                family=family,
                task=task,
                model=tuple(row["model"] for row in own),
                params=columns["params"],
                tokens=columns["tokens"],
                flops=columns["flops"],
                step=np.full(len(own), np.nan),
                is_final=np.ones(len(own), dtype=bool),
                metrics={"acc": columns["acc"]},
                chance=float(columns["chance"][0]),
            )
        )
    return found


def _scored(ladders: list[Ladder]) -> list[Scored]:
    found: list[Scored] = []
    for ladder in ladders:
        for k in range(3, len(ladder)):
            far = (ladder.flops >= 1.9 * ladder.flops[k - 1]) & (np.arange(len(ladder)) >= k)
            fitted, targets = ladder.take(np.arange(k)), ladder.take(far)
            if not far.any() or np.ptp(fitted.metrics["acc"]) == 0.0:
                continue
            sample = prepare(fitted, metric="acc").sample
            points = Points(
                log_flops=np.log(targets.flops), log_params=np.log(targets.params), log_tokens=np.log(targets.tokens)
            )
            names, rng = member_names(sample, "auto"), np.random.default_rng(0)
            prediction = predict_points(sample, points, names, replicates=12, rng=rng)
            last = float(fitted.metrics["acc"][-1])
            found += [(float(y), last, prediction.at(i)) for i, y in enumerate(targets.metrics["acc"])]
    return found


def _covers(found: list[Scored], level: float) -> float:
    return float(np.mean([expected.holds(truth, level) for truth, _, expected in found]))


def test_emergent_tasks_are_covered_and_scored_better_than_the_last_value(data_folder: Path) -> None:
    tasks = ["arithmetic_2da", "arithmetic_2dm", "arithmetic_3da", "arithmetic_3ds", "ipa_transliterate", "parsinlu_qa"]
    found = _scored(_ladders(data_folder, [*tasks, "word_unscrambling"]))
    assert len(found) == 246
    assert 0.7 < _covers(found, 0.8) < 0.9
    assert 0.83 < _covers(found, 0.9) < 0.97
    naive = np.mean([abs(last - truth) for truth, last, _ in found])
    assert np.mean([expected.crps(truth) for truth, _, expected in found]) < min(0.062, 0.7 * naive)
    assert np.mean([abs(expected.median - truth) for truth, _, expected in found]) < 0.9 * naive


def test_a_benchmark_that_falls_is_forecast_to_fall(data_folder: Path) -> None:
    found = _scored(_ladders(data_folder, ["truthfulqa_mc2"]))
    naive = np.mean([abs(last - truth) for truth, last, _ in found])
    assert np.mean([abs(expected.median - truth) for truth, _, expected in found]) < naive
    assert _covers(found, 0.9) > 0.85
