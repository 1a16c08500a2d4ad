"""The errors and coverages of docs/forecasting.md on published families. By hand: python tests/speed/measure_forecasts.py.

Each suite is fitted on its smaller models only; persistence repeats the largest fitted model's accuracy.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from forecast.core.distribution import Distribution
from forecast.core.observation_rows import to_ladders
from forecast.core.observations import Ladder
from forecast.forecasting.ensemble import member_names
from forecast.forecasting.predictive import predict_points
from forecast.forecasting.preparation import prepare
from forecast.forecasting.sample import Points
from forecast.importers import read_observations

LEVELS = (0.5, 0.8, 0.9, 0.95)
Split = Callable[[Ladder], tuple[Ladder, Ladder]]


def _ladders(folder: Path, name: str) -> list[Ladder]:
    return [ladder for ladder in to_ladders(read_observations(folder / name)) if "acc" in ladder.metrics]


def _up_to(params: float) -> Split:
    return lambda ladder: (ladder.take(ladder.params <= params), ladder.take((ladder.params > params) & ladder.is_final))


def _pythia(largest: float, least: float, most: float) -> Split:
    def split(ladder: Ladder) -> tuple[Ladder, Ladder]:
        small = (ladder.params <= largest) & (ladder.step >= 3000)
        return ladder.take(small), ladder.take((ladder.params > least) & (ladder.params < most) & ladder.is_final)

    return split


def suites(folder: Path) -> Iterator[tuple[str, list[Ladder], Split]]:
    """Name, ladders, and how to split each into what is fitted and what is forecast."""
    olmo = _ladders(folder, "olmo_ladder2024.csv.gz")
    for name, largest in (("<= 760M", 9.2e8), ("<= 1.3B", 1.5e9), ("<= 370M", 4.8e8)):
        yield f"OLMo {name}", olmo, _up_to(largest)
    pythia = [ladder for ladder in _ladders(folder, "pythia_v1.csv.gz") if not ladder.task.startswith("wsc")]
    yield "Pythia <= 1.4B", pythia, _pythia(1.42e9, 1.56e9, 2e10)
    yield "Pythia <= 410M", pythia, _pythia(4.1e8, 1.2e9, 7e9)
    gadre = _ladders(folder, "gadre2024.csv.gz")
    yield "Gadre, 17-task average", [ladder for ladder in gadre if ladder.task == "avg_17"], _gadre
    yield "Gadre, each task", gadre, _gadre


def _gadre(ladder: Ladder) -> tuple[Ladder, Ladder]:
    return ladder.take(ladder.params <= 4.2e8), ladder.take(ladder.params > 1e9)


def measure(ladders: list[Ladder], split: Split, method: str) -> tuple[list[tuple[float, Distribution]], float, float]:
    """Truths with what was expected of them; mean absolute errors of the method and of persistence over tasks."""
    pairs: list[tuple[float, Distribution]] = []
    own, naive = [], []
    for ladder in ladders:
        fitted, targets = split(ladder)
        sample = prepare(fitted, metric="acc").sample
        points = Points(log_flops=np.log(targets.flops), log_params=np.log(targets.params), log_tokens=np.log(targets.tokens))
        names = member_names(sample, method)
        found = predict_points(sample, points, names, replicates=24, rng=np.random.default_rng(0))
        truth = targets.metrics["acc"]
        pairs += [(float(value), found.at(k)) for k, value in enumerate(truth)]
        own.append(np.abs(found.point - truth).mean())
        naive.append(np.abs(sample.accuracy[0][np.argmax(sample.log_flops)] - truth).mean())
    return pairs, float(np.mean(own)), float(np.mean(naive))


def main() -> None:
    """Print one line a suite."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("../shared/data/published"))
    parser.add_argument("--method", default="auto")
    options = parser.parse_args()
    print(
        "| fitted on | pairs | persistence | MAE | CRPS | "
        + " | ".join(f"{level:.0%}" for level in LEVELS)
        + " | width 90% | s |"
    )
    for name, ladders, split in suites(options.data):
        begin = time.process_time()
        pairs, error, naive = measure(ladders, split, options.method)
        inside = [f"{100 * np.mean([expected.holds(truth, level) for truth, expected in pairs]):.1f}" for level in LEVELS]
        crps = np.mean([expected.crps(truth) for truth, expected in pairs])
        ends = np.array([expected.interval(0.9) for _, expected in pairs]).T
        cells = [name, str(len(pairs)), f"{100 * naive:.2f}", f"{100 * error:.2f}", f"{100 * crps:.2f}", *inside]
        print(
            "| " + " | ".join([*cells, f"{100 * np.mean(ends[1] - ends[0]):.1f}", f"{time.process_time() - begin:.0f}"]) + " |"
        )


if __name__ == "__main__":
    main()
