"""The predictive distribution, against scipy, Monte Carlo and brute force."""

import numpy as np
import pytest
from scipy import integrate, stats

from forecast.core.distribution import MOST_KNOTS, PROBABILITIES, Distribution

LEVELS = [0.5, 0.8, 0.9, 0.95, 0.99, 0.999]


def spike_and_tail() -> Distribution:
    """Three tenths at 0.25, the rest in a tail up to 1, a tenth of all at 1."""
    tail = Distribution(np.array([0.25, 0.6, 1.0, 1.0]), np.array([0.0, 0.6, 6 / 7, 1.0]))
    return Distribution.mixture([Distribution.from_samples([0.25]), tail], [0.3, 0.7])


def brute_crps(distribution: Distribution, truth: float) -> float:
    grid = np.linspace(-0.5, 1.5, 400_001)
    middles = (grid[1:] + grid[:-1]) / 2
    cdf = np.array([distribution.cdf(x) for x in middles[::20]]).repeat(20)[: len(middles)]
    return float(np.sum((cdf - (middles >= truth)) ** 2 * np.diff(grid)))


@pytest.mark.parametrize("scale", [1e-6, 0.01, 0.3])
def test_student_quantiles_are_those_of_scipy_clipped_to_the_range(scale: float) -> None:
    made = Distribution.from_student(0.3, scale, 4)
    for level in LEVELS:
        for p in ((1 - level) / 2, (1 + level) / 2):
            assert made.quantile(p) == pytest.approx(np.clip(0.3 + scale * stats.t.ppf(p, 4), 0, 1), abs=1e-12)
    # A level that is off the grid lies within the grid's resolution.
    assert made.quantile(0.03333) == pytest.approx(np.clip(0.3 + scale * stats.t.ppf(0.03333, 4), 0, 1), abs=1e-4 * scale)


def test_student_cdf_and_probability_above_are_those_of_scipy() -> None:
    made = Distribution.from_student(0.5, 0.1, 4)
    for x in (0.01, 0.2, 0.4999, 0.62, 0.97):
        assert made.cdf(x) == pytest.approx(stats.t.cdf((x - 0.5) / 0.1, 4), abs=2e-5)
        assert made.probability_above(x) == pytest.approx(stats.t.sf((x - 0.5) / 0.1, 4), abs=2e-5)
    assert made.cdf(1.0) == 1.0
    assert made.cdf(-0.001) == 0.0
    assert made.cdf(0.0) == pytest.approx(stats.t.cdf(-5, 4), abs=2e-5)


def test_an_unbounded_student_keeps_its_mean_and_a_scale_of_zero_is_a_point() -> None:
    assert Distribution.from_student(2.0, 0.4, 4, lo=-np.inf, hi=np.inf).mean == pytest.approx(2.0, abs=1e-9)
    point = Distribution.from_student(0.4, 0.0, 4)
    assert (point.median, point.mean, point.interval(0.99)) == (0.4, pytest.approx(0.4), (0.4, 0.4))
    assert (point.cdf(0.4), point.cdf(0.39), point.probability_above(0.4)) == (1.0, 0.0, 0.0)


def test_crps_of_student_is_the_closed_form() -> None:
    point, scale, nu = 0.5, 0.02, 4
    made = Distribution.from_student(point, scale, nu)
    for truth in (0.5, 0.53, 0.42):
        z = (truth - point) / scale
        # Jordan, Krueger and Lerch 2019, eq. for the t distribution, by quadrature of the defining integral.
        expected = (
            integrate.quad(lambda x: stats.t.cdf(x, nu) ** 2, -400, z)[0]
            + integrate.quad(lambda x: stats.t.sf(x, nu) ** 2, z, 400)[0]
        )
        assert made.crps(truth) == pytest.approx(scale * expected, rel=2e-4)


@pytest.mark.parametrize("truth", [-0.2, 0.0, 0.1, 0.25, 0.4, 1.0, 1.2])
def test_crps_by_brute_force(truth: float) -> None:
    assert spike_and_tail().crps(truth) == pytest.approx(brute_crps(spike_and_tail(), truth), abs=2e-4)


def test_crps_of_draws_is_the_energy_form() -> None:
    rng = np.random.default_rng(3)
    draws, weights = rng.beta(2, 5, 200), rng.random(200)
    weights /= weights.sum()
    apart = np.abs(draws[:, None] - draws[None, :])
    expected = weights @ np.abs(draws - 0.6) - 0.5 * weights @ apart @ weights
    assert Distribution.from_samples(draws, weights).crps(0.6) == pytest.approx(expected, abs=1e-12)


def test_crps_rewards_the_truth_of_the_matter() -> None:
    """On average over draws from it, a distribution beats one that is shifted, wider or narrower."""
    rng = np.random.default_rng(1)
    truths = stats.t.rvs(4, 0.5, 0.02, size=4000, random_state=rng)
    score = {
        (shift, factor): np.mean([Distribution.from_student(0.5 + shift, 0.02 * factor, 4).crps(t) for t in truths[:1500]])
        for shift, factor in ((0.0, 1.0), (0.02, 1.0), (0.0, 2.0), (0.0, 0.4))
    }
    assert min(score, key=score.__getitem__) == (0.0, 1.0)


def test_point_masses_at_the_ends_are_exact() -> None:
    made = Distribution.mixture(
        [Distribution.from_samples([0.0]), Distribution.from_samples([1.0]), Distribution.from_student(0.5, 0.002, 4)],
        [1 / 7, 2 / 9, 1 - 1 / 7 - 2 / 9],
    )
    assert made.cdf(0.0) == pytest.approx(1 / 7, abs=1e-15)
    assert made.probability_within(1.0, 1.0) == pytest.approx(2 / 9, abs=1e-15)
    assert made.quantile(1 / 7 - 1e-6) == 0.0
    assert made.quantile(1 - 2 / 9 + 1e-6) == 1.0
    only = Distribution.mixture([Distribution.from_samples([0.0]), Distribution.from_samples([1.0])], [1 / 7, 6 / 7])
    assert only.cdf(0.0) == pytest.approx(1 / 7, abs=1e-15)
    assert only.mean == pytest.approx(6 / 7, abs=1e-15)


def test_a_mixture_is_what_drawing_from_its_parts_gives() -> None:
    rng = np.random.default_rng(0)
    parts = [Distribution.from_student(0.3, 0.02, 4), Distribution.from_student(0.7, 0.1, 4), spike_and_tail()]
    weights = [0.5, 0.2, 0.3]
    made = Distribution.mixture(parts, weights)
    chosen = rng.choice(3, size=200_000, p=weights)
    uniform = rng.random(200_000)
    drawn = np.concatenate([part.quantiles(uniform[chosen == k]) for k, part in enumerate(parts)])
    for p in (0.05, 0.25, 0.5, 0.65, 0.9, 0.99):
        assert np.mean(drawn <= made.quantile(p) + 1e-12) >= p - 0.005
        assert np.mean(drawn < made.quantile(p) - 1e-12) <= p + 0.005
    assert made.mean == pytest.approx(drawn.mean(), abs=0.003)
    assert made.cdf(0.45) == pytest.approx(sum(w * part.cdf(0.45) for w, part in zip(weights, parts, strict=True)), abs=1e-6)


def test_a_mixture_of_many_parts_stays_short_and_true() -> None:
    centers = np.linspace(0.2, 0.8, 60)
    parts = [Distribution.from_student(c, 0.03, 4) for c in centers]
    made = Distribution.mixture(parts, np.ones(60))
    assert len(made.values) <= MOST_KNOTS
    for x in (0.1, 0.33, 0.5, 0.9):
        assert made.cdf(x) == pytest.approx(np.mean([part.cdf(x) for part in parts]), abs=1e-4)


def test_draws_with_weights_and_a_spike() -> None:
    made = Distribution.from_samples([0.25, 0.9, 0.25, 0.5, 0.7], [1, 2, 3, 4, 0])
    assert made.cdf(0.25) == pytest.approx(0.4)
    assert made.cdf(0.2499) == 0.0
    assert made.median == 0.5
    assert made.mean == pytest.approx(0.25 * 0.4 + 0.5 * 0.4 + 0.9 * 0.2)
    many = Distribution.from_samples(np.concatenate([np.full(7001, 0.25), np.random.default_rng(0).uniform(0.25, 1, 20_000)]))
    assert len(many.values) <= MOST_KNOTS
    assert many.cdf(0.25) == pytest.approx(7001 / 27_001, abs=1e-12)


def test_quantiles_rise_and_answer_the_cdf() -> None:
    for made in (spike_and_tail(), Distribution.from_student(0.02, 0.1, 4)):
        p = np.linspace(0, 1, 4001)
        quantiles = made.quantiles(p)
        assert (np.diff(quantiles) >= 0).all()
        assert quantiles.min() >= 0
        assert quantiles.max() <= 1
        reached = np.array([made.cdf(x) for x in quantiles])
        assert (reached >= p - 1e-12).all()


def test_density_integrates_to_one_and_finds_the_spike() -> None:
    grid = np.linspace(0, 1, 201)
    density = spike_and_tail().density(grid)
    assert np.sum(density) * 0.005 == pytest.approx(1.0)
    assert grid[np.argmax(density)] == pytest.approx(0.25)


def test_within_counts_both_ends() -> None:
    made = spike_and_tail()
    assert made.probability_within(0.25, 0.25) == pytest.approx(0.3)
    assert made.probability_within(0.0, 1.0) == 1.0
    assert made.probability_within(0.3, 0.3) == 0.0


def test_clipping_keeps_what_lies_inside_and_puts_the_rest_on_the_ends() -> None:
    made = spike_and_tail()
    clipped = made.clipped(0.3, 0.7)
    assert clipped.cdf(0.3) == pytest.approx(made.cdf(0.3), abs=1e-15)
    assert clipped.cdf(0.2999) == 0.0
    assert clipped.cdf(0.55) == pytest.approx(made.cdf(0.55), abs=1e-15)
    assert clipped.probability_within(0.7, 0.7) == pytest.approx(made.probability_above(0.7), abs=1e-15)
    assert made.clipped(0.0, 1.0) is made
    assert made.clipped(0.9, 0.95).interval(0.5) == (0.9, 0.9)


def test_thinning_keeps_the_asked_quantiles_and_the_spikes() -> None:
    made = spike_and_tail()
    thin = made.thinned(np.arange(1, 100) / 100)
    assert len(thin.values) < 110
    assert thin.quantiles([0.05, 0.5, 0.95]) == pytest.approx(made.quantiles([0.05, 0.5, 0.95]), abs=1e-12)
    assert thin.cdf(0.25) == pytest.approx(0.3)
    assert thin.probability_within(1.0, 1.0) == pytest.approx(0.1)


def test_what_is_no_distribution_is_refused() -> None:
    for values, probabilities in (
        ([0.1], [1.0]),
        ([0.2, 0.1], [0.0, 1.0]),
        ([0.1, 0.2], [0.0, 0.9]),
        ([0.1, np.nan], [0.0, 1.0]),
        ([0.1, 0.2, 0.3], [0.0, 1.0]),
    ):
        with pytest.raises(ValueError, match=r"must|one value per probability"):
            Distribution(np.array(values), np.array(probabilities))
    with pytest.raises(ValueError, match="weight"):
        Distribution.from_samples([0.1, 0.2], [0.0, 0.0])
    with pytest.raises(ValueError, match="weight"):
        Distribution.mixture([Distribution.from_samples([0.1])], [-1.0])
    with pytest.raises(ValueError, match="between 0 and 1"):
        Distribution.from_samples([0.1]).quantile(1.5)


def test_it_cannot_be_changed() -> None:
    made = spike_and_tail()
    with pytest.raises(ValueError, match="read-only"):
        made.values[0] = 0.5
    with pytest.raises(ValueError, match="read-only"):
        PROBABILITIES[0] = 0.5
