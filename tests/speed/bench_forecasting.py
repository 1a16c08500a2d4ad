"""Time of `predict` and `backtest` on 8 tasks, 16 runs, 20 checkpoints each. By hand: python tests/speed/bench_forecasting.py.

Wall seconds depend on who else computes; processor seconds on one core are what to compare.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from forecast.core.forecasts import Target
from forecast.core.observations import Ladder
from forecast.forecasting import forecast_ladder
from forecast.forecasting.backtesting import backtest_ladders

SIZES, RATIOS, CHECKPOINTS = 4, (5.0, 20.0, 80.0, 160.0), 20


def build(seed: int) -> Ladder:
    """One task of a family of 16 runs with mid-schedule checkpoints."""
    rng = np.random.default_rng(seed)
    n = np.repeat(3e7 * 2.5 ** np.arange(SIZES), len(RATIOS))
    full = n * np.tile(RATIOS, SIZES)
    share = np.linspace(1 / CHECKPOINTS, 1, CHECKPOINTS)
    params = np.repeat(n, CHECKPOINTS)
    tokens = (full[:, None] * share).ravel()
    nll = 0.45 + 130 / params**0.31 + 160 / tokens**0.31
    accuracy = 0.25 + 0.7 / (1 + np.exp(9 * (nll - 1.0))) + 0.008 * rng.standard_normal(nll.size)
    return Ladder(
        family="bench",
        task=f"task-{seed}",
        model=tuple(f"run-{i}" for i in np.repeat(np.arange(n.size), CHECKPOINTS)),
        params=params,
        tokens=tokens,
        flops=6 * params * tokens,
        step=np.tile(np.arange(CHECKPOINTS, dtype=float), n.size),
        is_final=np.tile(share == 1.0, n.size),
        metrics={"acc": np.clip(accuracy, 0, 1), "nll_per_char": nll, "nll_choice_norm": 0.9 * nll},
        n_items=np.full(nll.size, 1500.0),
        chance=0.25,
    )


def main() -> None:
    """Print wall and processor seconds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--backtest", action="store_true")
    options = parser.parse_args()
    ladders = [build(seed) for seed in range(options.tasks)]
    targets = [Target(name=str(n), params=n, tokens=20 * n, flops=120 * n * n) for n in (1e9, 3e9)]
    wall, cpu = time.perf_counter(), time.process_time()
    for ladder in ladders:
        if options.backtest:
            backtest_ladders([ladder])
        else:
            forecast_ladder(ladder, targets)
    what = "backtest" if options.backtest else "predict"
    print(
        f"{what}, {options.tasks} tasks: {time.perf_counter() - wall:.1f} s wall, {time.process_time() - cpu:.1f} s processor"
    )


if __name__ == "__main__":
    main()
