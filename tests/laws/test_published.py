"""Published measurements: numbers that were printed, or that the published procedure gives, come out again."""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from forecast.laws import FitResult, FitStatus, Huber, fit, get_law
from forecast.laws.bootstrap import block_weights, bootstrap

# Sum of Huber terms, delta 1e-3, on the 240 points of Besiroglu 2024; the 4,500-start BFGS of the authors' notebook
# (epoch-research/analyzing-chinchilla, 9225883) with the mean replaced by a sum ends there (tests/speed/bench_laws.py).
CHINCHILLA = {"A": 477.83, "B": 2143.4, "E": 1.81722, "alpha": 0.34731, "beta": 0.36717}
CHINCHILLA_OBJECTIVE = 1.018274e-3
# Standard deviations of 4,000 bootstrap refits by the same procedure.
CHINCHILLA_SE = {"A": 121.0, "B": 1338.0, "E": 0.0257, "alpha": 0.0151, "beta": 0.0207}


@pytest.fixture(scope="module")
def chinchilla(data_folder: Path) -> tuple[np.ndarray, np.ndarray]:
    with (data_folder / "published" / "chinchilla2022.csv").open() as handle:
        rows = [row for row in csv.DictReader(handle) if row["excluded_outlier"] == "0"]
    assert len(rows) == 240
    x = np.array([[float(row["params"]), float(row["tokens"])] for row in rows])
    return x, np.array([float(row["loss"]) for row in rows])


@pytest.mark.parametrize("seed", [0, 1, 2, 12345])
def test_chinchilla_optimum_from_any_seed(chinchilla: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    result = fit(get_law("chinchilla"), *chinchilla, loss=Huber(1e-3), seed=seed)
    assert result.status is FitStatus.OK
    assert result.objective == pytest.approx(CHINCHILLA_OBJECTIVE, rel=1e-6)
    for name, value in CHINCHILLA.items():
        assert result.params[name] == pytest.approx(value, rel=1e-4)
    assert result.starts_agreed > result.starts // 2


@pytest.mark.parametrize("seed", [0, 1])
def test_chinchilla_standard_errors(chinchilla: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    result = fit(get_law("chinchilla"), *chinchilla, loss=Huber(1e-3))
    errors = bootstrap(result, replicates=4000, seed=seed).standard_errors()
    for name, value in CHINCHILLA_SE.items():
        assert errors[name] == pytest.approx(value, rel=0.10)


def test_bootstrap_refits_are_what_single_fits_find(chinchilla: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = chinchilla
    result = fit(get_law("chinchilla"), x, y, loss=Huber(1e-3))
    drawn = bootstrap(result, replicates=5, seed=3)
    times = block_weights(list(range(240)), 5, np.random.default_rng(3))
    for row, weights in zip(drawn.theta, times, strict=True):
        alone = fit(get_law("chinchilla"), x, y, loss=Huber(1e-3), weights=weights)
        np.testing.assert_allclose(row, alone.theta, rtol=1e-3)


GADRE_SMALL = ("d=96_l=8_h=4-1.0", "d=512_l=8_h=4-1.0", "d=576_l=24_h=8-1.0", "d=1024_l=24_h=8-1.0", "d=96_l=8_h=4-16.0")


def test_gadre_four_relative_errors(data_folder: Path) -> None:
    """Default 5 + 6 points on RedPajama (mlfoundations/scaling a003c49, `fit_ds`): 0.71, 0.73, 3.64 and 0.05 %."""
    table: dict[tuple[str, str], dict[str, str]] = {}
    with gzip.open(data_folder / "published" / "gadre2024.csv.gz", "rt") as handle:
        for row in csv.DictReader(handle):
            if row["family"] == "rpj":
                table[row["model"].removeprefix("rpj-"), row["task"]] = row

    def scale(model: str) -> list[float]:
        row = table[model, "c4_val"]
        return [float(row["flops"]), float(row["token_multiplier"])]

    def loss(model: str) -> float:
        return float(table[model, "c4_val"]["loss"])

    def error(model: str) -> float:
        return 1.0 - float(table[model, "avg_17"]["acc"])

    first = fit(get_law("gadre-loss"), np.array([scale(m) for m in GADRE_SMALL]), np.array([loss(m) for m in GADRE_SMALL]))
    six = (*GADRE_SMALL, "open_lm_1b-1.0")
    second = fit(get_law("gadre-error"), np.array([loss(m) for m in six]), np.array([error(m) for m in six]))
    expected = {"open_lm_1b-32.0": (0.71, 3.64), "open_lm_7b-1.0": (0.73, 0.05)}
    for model, (loss_percent, error_percent) in expected.items():
        predicted = first.predict([scale(model)])
        assert 100 * abs(predicted[0] / loss(model) - 1) == pytest.approx(loss_percent, abs=0.005)
        forecast = second.predict(predicted)[0]
        assert 100 * abs(forecast / error(model) - 1) == pytest.approx(error_percent, abs=0.005)


# Mean over curves of the root mean squared log error of the held-out end, vision (72 curves) and language (20): reference fits
# of the same laws by an independent program, to be no worse than.
EXTRAPOLATION = {"m1": (0.1046, 0.0663), "m2": (0.0725, 0.0168), "m3": (0.0592, 0.0094), "m4": (0.0420, 0.0075)}


def curve_errors(folder: Path, law_name: str) -> tuple[float, float]:
    curves = defaultdict(list)
    with gzip.open(folder / "published" / "extrapolation2022.csv.gz", "rt") as handle:
        for row in csv.DictReader(handle):
            curves[row["domain"], row["task"], row["model"]].append(
                (float(row["x_seen"]), float(row["loss"]), float(row["train"]))
            )
    assert len(curves) == 92
    vision, language = [], []
    for (domain, *_), rows in curves.items():
        x, y, train = np.array(rows).T
        seen = train == 1
        result = extrapolate(law_name, x[seen], y[seen], error_rate=domain == "IC")
        gap = np.log(result.predict(x[~seen])) - np.log(y[~seen])
        (vision if domain == "IC" else language).append(float(np.sqrt(np.mean(gap**2))))
    return float(np.mean(vision)), float(np.mean(language))


def extrapolate(law_name: str, x: np.ndarray, y: np.ndarray, *, error_rate: bool) -> FitResult:
    law = get_law(law_name)
    if law_name == "m3":
        return fit(law, x, y, fixed={"e": 0.0})
    if law_name == "m4" and error_rate:
        return fit(law, x, y, bounds={"e_0": (0.0, 1.0)})
    return fit(law, x, y)


@pytest.mark.parametrize("law_name", ["m1", *(pytest.param(name, marks=pytest.mark.slow) for name in ("m2", "m3", "m4"))])
def test_extrapolation_benchmark(data_folder: Path, law_name: str) -> None:
    vision, language = curve_errors(data_folder, law_name)
    assert vision <= EXTRAPOLATION[law_name][0] + 5e-5
    assert language <= EXTRAPOLATION[law_name][1] + 5e-5
