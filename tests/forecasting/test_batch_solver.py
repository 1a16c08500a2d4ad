from __future__ import annotations

import numpy as np
from scipy import optimize

from forecast.forecasting.batch_solver import solve_batch


def test_agrees_with_scipy_on_penalised_curves() -> None:
    rng = np.random.default_rng(0)
    x = np.linspace(0, 3, 12)
    truth = np.stack([rng.uniform(0.5, 2, 5), rng.uniform(0.2, 1.5, 5), rng.uniform(0, 0.5, 5)], axis=1)
    y = truth[:, [0]] * np.exp(-truth[:, [1]] * x) + truth[:, [2]] + 0.01 * rng.standard_normal((5, 12))
    mean, sd = np.array([1.0, 0.7, 0.2]), np.array([1.0, 0.5, np.inf])

    def residuals(theta: np.ndarray) -> np.ndarray:
        return (theta[:, [0]] * np.exp(-theta[:, [1]] * x) + theta[:, [2]] - y) / 0.05

    ours = solve_batch(residuals, np.tile(mean, (5, 1)), prior_mean=mean, prior_sd=sd, tolerance=1e-12, max_iterations=200)
    for b in range(5):

        def one(theta: np.ndarray, b: int = b) -> np.ndarray:
            curve = (theta[0] * np.exp(-theta[1] * x) + theta[2] - y[b]) / 0.05
            return np.concatenate([curve, (theta - mean)[:2] / sd[:2]])

        reference = optimize.least_squares(one, mean, xtol=1e-14, ftol=1e-14, gtol=1e-14)
        np.testing.assert_allclose(ours.parameters[b], reference.x, rtol=2e-4)
        np.testing.assert_allclose(ours.cost[b], reference.cost, rtol=1e-6)


def test_problems_do_not_influence_each_other() -> None:
    x = np.linspace(0, 1, 6)
    y = np.stack([1 + x, 5 - 3 * x])
    flat = np.full(2, np.inf)
    both = solve_batch(lambda t: t[:, [0]] + t[:, [1]] * x - y, np.zeros((2, 2)), prior_mean=np.zeros(2), prior_sd=flat)
    alone = solve_batch(lambda t: t[:, [0]] + t[:, [1]] * x - y[1:], np.zeros((1, 2)), prior_mean=np.zeros(2), prior_sd=flat)
    np.testing.assert_allclose(both.parameters[1], alone.parameters[0], atol=1e-6)


def test_a_start_without_a_finite_cost_is_not_called_converged_to_a_number() -> None:
    solution = solve_batch(
        lambda t: np.full((len(t), 3), np.nan), np.zeros((1, 1)), prior_mean=np.zeros(1), prior_sd=np.ones(1), max_iterations=5
    )
    assert not np.isfinite(solution.cost[0])
