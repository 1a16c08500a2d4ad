"""Speed of the global fit and of the bootstrap, against the published procedure, in one run on one thread, in CPU time.

Reference: Hoffmann's approach 3 as Besiroglu 2024 (arXiv:2404.10102, section 3) run it: BFGS from the grid of 4,500 starts of
Hoffmann D.3, log-sum-exp form, sum of Huber terms; 4,000 bootstrap refits begun at the optimum. The analytic gradient makes the
reference faster than the authors' own numerical one.

Run by hand: OMP_NUM_THREADS=1 python tests/speed/bench_laws.py [PUBLISHED_FOLDER] [--share 1.0]
(`--share 0.1` runs a tenth of the reference's starts and refits, and scales its time up).
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy import optimize, special

from forecast.laws import Huber, fit, get_law
from forecast.laws.bootstrap import bootstrap

DELTA = 1e-3
GRID = (
    (0.0, 0.5, 1.0, 1.5, 2.0),  # alpha
    (0.0, 0.5, 1.0, 1.5, 2.0),  # beta
    (-1.0, -0.5, 0.0, 0.5, 1.0),  # e = log E
    (0.0, 5.0, 10.0, 15.0, 20.0, 25.0),  # a = log A
    (0.0, 5.0, 10.0, 15.0, 20.0, 25.0),  # b = log B
)
"""Hoffmann 2022, D.3: 5 x 5 x 5 x 6 x 6 = 4,500 starts."""


def objective(
    p: np.ndarray, log_n: np.ndarray, log_d: np.ndarray, log_l: np.ndarray, w: np.ndarray
) -> tuple[float, np.ndarray]:
    alpha, beta, e, a, b = p
    z = np.stack([a - alpha * log_n, b - beta * log_d, np.full_like(log_n, e)])
    f = special.logsumexp(z, axis=0)
    r = f - log_l
    clipped = np.clip(r, -DELTA, DELTA)
    value = float(np.sum(w * clipped * (r - 0.5 * clipped)))
    share = np.exp(z - f) * (w * clipped)
    gradient = np.array([-share[0] @ log_n, -share[1] @ log_d, share[2].sum(), share[0].sum(), share[1].sum()])
    return value, gradient


def reference(n: np.ndarray, d: np.ndarray, loss: np.ndarray, share: float) -> dict[str, float]:
    logs = np.log(n), np.log(d), np.log(loss)
    ones = np.ones_like(n)
    starts = list(itertools.product(*GRID))
    picked = starts[:: max(1, round(1 / share))]
    begin = time.process_time()
    best = min(
        (optimize.minimize(objective, start, args=(*logs, ones), jac=True, method="BFGS") for start in picked),
        key=lambda result: result.fun,
    )
    fit_s = (time.process_time() - begin) * len(starts) / len(picked)
    rng = np.random.default_rng(0)
    refits = max(20, round(4000 * share))
    begin = time.process_time()
    draws = []
    for _ in range(refits):
        weights = np.bincount(rng.integers(0, len(n), len(n)), minlength=len(n)).astype(float)
        draws.append(optimize.minimize(objective, best.x, args=(*logs, weights), jac=True, method="BFGS").x)
    boot_s = (time.process_time() - begin) * 4000 / refits
    return {"fit_s": fit_s, "bootstrap_s": boot_s, "objective": float(best.fun), "alpha_se": float(np.std(draws, axis=0)[0])}


def ours(n: np.ndarray, d: np.ndarray, loss: np.ndarray) -> dict[str, float]:
    x = np.stack([n, d], axis=-1)
    law = get_law("chinchilla")
    times = []
    for seed in range(5):
        begin = time.process_time()
        result = fit(law, x, loss, loss=Huber(DELTA), seed=seed)
        times.append(time.process_time() - begin)
    begin = time.process_time()
    drawn = bootstrap(result, replicates=4000, seed=0)
    boot_s = time.process_time() - begin
    return {
        "fit_s": float(np.median(times)),
        "bootstrap_s": boot_s,
        "objective": result.objective,
        "alpha_se": drawn.standard_errors()["alpha"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path(os.environ.get("FORECAST_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")) / "published"
    parser.add_argument("folder", nargs="?", type=Path, default=default)
    parser.add_argument("--share", type=float, default=1.0)
    options = parser.parse_args()
    with (options.folder / "chinchilla2022.csv").open() as handle:
        rows = [row for row in csv.DictReader(handle) if row["excluded_outlier"] == "0"]
    n, d, loss = (np.array([float(row[name]) for row in rows]) for name in ("params", "tokens", "loss"))
    mine = ours(n, d, loss)
    theirs = reference(n, d, loss, options.share)
    report = {
        "points": len(rows),
        "ours": mine,
        "reference": theirs,
        "fit_ratio": theirs["fit_s"] / mine["fit_s"],
        "bootstrap_ratio": theirs["bootstrap_s"] / mine["bootstrap_s"],
    }
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
