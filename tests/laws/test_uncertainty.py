"""Standard errors and intervals: against linear theory, and by simulated coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from forecast.core.errors import FitError
from forecast.laws import Binomial, Huber, LeastSquares, Space, fit, get_law
from forecast.laws.bootstrap import block_weights, bootstrap, expanded_tail
from forecast.laws.profile import profile_interval

POWER = get_law("power-law")
OFFSET = get_law("power-law-offset")


def scales(rows: int) -> np.ndarray:
    return np.geomspace(1e17, 1e22, rows)


def test_model_errors_are_those_of_linear_regression() -> None:
    """In logarithms a power law is a line: textbook standard errors must come out."""
    rng = np.random.default_rng(0)
    x = scales(12)
    y = 60 * x**-0.06 * np.exp(0.01 * rng.standard_normal(12))
    result = fit(POWER, x, y)
    line = stats.linregress(np.log(x), np.log(y))
    assert result.params["alpha"] == pytest.approx(-line.slope, rel=1e-8)
    assert np.sqrt(result.covariance_model[1, 1]) == pytest.approx(line.stderr, rel=1e-6)
    assert np.sqrt(result.covariance_model[0, 0]) / result.params["A"] == pytest.approx(line.intercept_stderr, rel=1e-6)


def test_a_profile_of_a_linear_model_is_its_t_interval() -> None:
    rng = np.random.default_rng(1)
    x = scales(9)
    y = 60 * x**-0.06 * np.exp(0.01 * rng.standard_normal(9))
    result = fit(POWER, x, y)
    low, high = profile_interval(result, "alpha", level=0.9)
    half = stats.t.ppf(0.95, 7) * np.sqrt(result.covariance_model[1, 1])
    assert low == pytest.approx(result.params["alpha"] - half, rel=1e-4)
    assert high == pytest.approx(result.params["alpha"] + half, rel=1e-4)


def test_the_sandwich_sees_unequal_noise() -> None:
    """Noise that grows with |log x - mean| makes the model errors too small; the sandwich follows (White 1980)."""
    rng = np.random.default_rng(2)
    x = scales(60)
    gap = np.abs(np.log(x) - np.log(x).mean())
    sd = 0.02 * (gap / gap.max()) ** 2
    estimates, model, sandwich = [], [], []
    for _ in range(150):
        result = fit(POWER, x, 60 * x**-0.06 * np.exp(sd * rng.standard_normal(60)), starts=4)
        estimates.append(result.params["alpha"])
        model.append(np.sqrt(result.covariance_model[1, 1]))
        sandwich.append(result.standard_errors["alpha"])
    truth = float(np.std(estimates))
    assert np.mean(model) < 0.8 * truth
    assert np.mean(sandwich) == pytest.approx(truth, rel=0.2)


def test_blocks_stay_together() -> None:
    times = block_weights(["a", "a", "b", "b", "b", "c"], 200, np.random.default_rng(0))
    assert np.all(times[:, 0] == times[:, 1])
    assert np.all(times[:, 2] == times[:, 3])
    assert np.all(times[:, 0] + times[:, 2] + times[:, 5] == 3)


def test_checkpoints_of_a_run_count_once() -> None:
    """Noise shared by a run's checkpoints: the block bootstrap sees it, a bootstrap over rows does not."""
    rng = np.random.default_rng(3)
    runs, each = 20, 10
    x = np.repeat(scales(runs), each) * np.tile(np.geomspace(0.5, 1.0, each), runs)
    shared = np.repeat(0.02 * rng.standard_normal(runs), each)
    y = 60 * x**-0.06 * np.exp(shared + 0.002 * rng.standard_normal(runs * each))
    result = fit(POWER, x, y)
    by_run = bootstrap(result, replicates=400, blocks=np.repeat(np.arange(runs), each).tolist()).standard_errors()["alpha"]
    by_row = bootstrap(result, replicates=400).standard_errors()["alpha"]
    assert by_run > 2 * by_row


def test_small_samples_widen_percentiles() -> None:
    assert expanded_tail(0.9, 6, 3) < 0.01
    assert expanded_tail(0.9, 40, 3) == pytest.approx(0.04, abs=0.005)
    with pytest.raises(FitError, match="only one run"):
        bootstrap(fit(POWER, scales(5), 60 * scales(5) ** -0.06), blocks=["a"] * 5)


def test_a_one_sided_profile_ends_at_the_domain() -> None:
    x = scales(12)
    y = 60 * x**-0.06 * np.exp(0.002 * np.random.default_rng(0).standard_normal(12))
    low, high = profile_interval(fit(OFFSET, x, y), "E", level=0.95)
    assert low == 0.0
    assert 0 < high < float(y.min())


def test_only_free_parameters_have_profiles() -> None:
    result = fit(OFFSET, scales(8), 2000 * scales(8) ** -0.17 + 1.5, fixed={"E": 1.5})
    with pytest.raises(FitError, match="'E' is not a free parameter"):
        profile_interval(result, "E")


def coverage(law_name: str, rows: int, noise: float, repeats: int, *, method: str, level: float = 0.9) -> dict[str, float]:
    law = get_law(law_name)
    theta = law.vector(law.typical)
    x = scales(rows)[:, None]
    truth = law.predict(x, theta)
    rng = np.random.default_rng(100 + rows)
    hits = dict.fromkeys(law.names, 0)
    for repeat in range(repeats):
        result = fit(law, x, truth * np.exp(noise * rng.standard_normal(rows)), starts=8)
        drawn = bootstrap(result, replicates=300, seed=repeat) if method == "bootstrap" else None
        for index, name in enumerate(law.names):
            if method == "profile":
                low, high = profile_interval(result, name, level=level)
            elif drawn is not None:
                low, high = drawn.interval(name, level)
            else:
                covariance = result.covariance if method == "sandwich" else result.covariance_model
                half = stats.t.ppf((1 + level) / 2, rows - len(theta)) * np.sqrt(covariance[index, index])
                low, high = result.theta[index] - half, result.theta[index] + half
                if law.parameters[index].log:
                    factor = np.exp(half / result.theta[index])
                    low, high = result.theta[index] / factor, result.theta[index] * factor
            hits[name] += low <= theta[index] <= high
    return {name: count / repeats for name, count in hits.items()}


@pytest.mark.parametrize("method", ["model", "profile"])
@pytest.mark.parametrize("rows", [6, 40])
def test_intervals_cover_quickly(method: str, rows: int) -> None:
    """100 repeats: nominal 90 % lies within 81 and 98 % (three standard errors)."""
    for share in coverage("power-law", rows, 0.01, 100, method=method).values():
        assert 0.81 <= share <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize("law_name", ["power-law", "power-law-offset"])
@pytest.mark.parametrize("rows", [6, 10, 20, 40])
def test_profiles_cover_within_two_points(law_name: str, rows: int) -> None:
    """1,500 repeats have a standard error of 0.8 points: nominal 90 % within 2 points and two standard errors."""
    for share in coverage(law_name, rows, 0.01 if law_name == "power-law" else 0.003, 1500, method="profile").values():
        assert abs(share - 0.9) <= 0.02 + 0.016


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sandwich", "bootstrap"])
@pytest.mark.parametrize("rows", [6, 10, 20, 40])
def test_robust_intervals_cover_at_least_nearly(method: str, rows: int) -> None:
    """Sandwich and bootstrap are for unequal noise and shared runs; with equal noise they may be wide, not narrow."""
    for share in coverage("power-law", rows, 0.01, 600, method=method).values():
        assert share >= 0.9 - 0.02 - 0.025


def test_binomial_errors_follow_the_counts() -> None:
    law = get_law("sigmoid-compute")
    x = np.geomspace(1e19, 1e25, 30)
    theta = law.vector(law.typical)
    y = law.predict(x[:, None], theta)
    few = fit(law, x, y, loss=Binomial(np.full(30, 500.0))).standard_errors["k"]
    many = np.sqrt(fit(law, x, y, loss=Binomial(np.full(30, 50_000.0))).covariance_model[2, 2])
    model = np.sqrt(fit(law, x, y, loss=Binomial(np.full(30, 500.0))).covariance_model[2, 2])
    assert model == pytest.approx(10 * many, rel=0.01)
    assert few < 1e-3  # the sandwich sees that these data have no noise at all


def test_huber_errors_do_not_rest_on_the_few_rows_inside_delta() -> None:
    rng = np.random.default_rng(5)
    x = scales(200)
    y = 60 * x**-0.06 * np.exp(0.02 * rng.standard_normal(200))
    squares = fit(POWER, x, y, loss=LeastSquares(Space.LOG))
    huber = fit(POWER, x, y, loss=Huber(1e-4))
    # The median's efficiency against the mean's is 2 / pi for normal noise: errors are 1.25 times larger.
    ratio = huber.standard_errors["alpha"] / squares.standard_errors["alpha"]
    assert 1.0 < ratio < 1.6


def item_world(rng: np.random.Generator, models: int = 8, items: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Models on shared items of different difficulty; log10 C from 19 to 25."""
    c = np.geomspace(1e19, 1e25, models)
    difficulty = rng.normal(22.0, 1.5, items)
    p = 0.25 + 0.7 / (1 + np.exp(-2.5 * (np.log10(c)[:, None] - difficulty)))
    return c, (rng.random((models, items)) < p).astype(np.float64)


def test_items_are_resampled_once_for_all_rows() -> None:
    """The spread over item replicates is that over fresh draws of items, which models share."""
    law = get_law("sigmoid-compute")
    rng = np.random.default_rng(8)
    held = {"floor": 0.25, "ceiling": 0.95}
    estimates = []
    for _ in range(120):
        c, correct = item_world(rng)
        estimates.append(fit(law, c, correct.mean(axis=1), fixed=held, starts=8).params["c0"])
    errors = []
    for seed in range(10):
        c, correct = item_world(rng)
        result = fit(law, c, correct.mean(axis=1), fixed=held, starts=8)
        drawn = bootstrap(result, replicates=200, items=correct, resample_runs=False, seed=seed)
        errors.append(drawn.standard_errors()["c0"])
    assert np.mean(errors) == pytest.approx(float(np.std(estimates)), rel=0.2)


def test_items_must_belong_to_the_fit() -> None:
    c, correct = item_world(np.random.default_rng(0))
    result = fit(get_law("sigmoid-compute"), c, correct.mean(axis=1), fixed={"floor": 0.25, "ceiling": 0.95})
    with pytest.raises(FitError, match="at least two items"):
        bootstrap(result, items=correct[:, :1])
    with pytest.raises(FitError, match="not the fitted measurements"):
        bootstrap(result, items=1 - correct)
    holed = correct.copy()
    holed[0, 0] = np.nan
    with pytest.raises(FitError, match="lack some items"):
        bootstrap(result, items=holed)
