from __future__ import annotations

import numpy as np
from scipy import optimize

from forecast.laws.replicate_solver import solve_replicates


def test_agrees_with_scipy_on_penalised_curves() -> None:
    rng = np.random.default_rng(0)
    x = np.linspace(0, 3, 12)
    truth = np.stack([rng.uniform(0.5, 2, 5), rng.uniform(0.2, 1.5, 5), rng.uniform(0, 0.5, 5)], axis=1)
    y = truth[:, [0]] * np.exp(-truth[:, [1]] * x) + truth[:, [2]] + 0.01 * rng.standard_normal((5, 12))
    mean, sd = np.array([1.0, 0.7, 0.2]), np.array([1.0, 0.5, np.inf])

    def residuals(u: np.ndarray) -> np.ndarray:
        return (u[:, [0]] * np.exp(-u[:, [1]] * x) + u[:, [2]] - y) / 0.05

    def jacobian(u: np.ndarray) -> np.ndarray:
        decay = np.exp(-u[:, [1]] * x)
        return np.stack([decay, -u[:, [0]] * x * decay, np.ones_like(decay)], axis=-1) / 0.05

    ours = solve_replicates(residuals, jacobian, np.tile(mean, (5, 1)), prior_mean=mean, prior_sd=sd)
    assert ours.converged.all()
    for b in range(5):

        def one(u: np.ndarray, b: int = b) -> np.ndarray:
            curve = (u[0] * np.exp(-u[1] * x) + u[2] - y[b]) / 0.05
            return np.concatenate([curve, (u - mean)[:2] / sd[:2]])

        reference = optimize.least_squares(one, mean, xtol=1e-14, ftol=1e-14, gtol=1e-14)
        np.testing.assert_allclose(ours.u[b], reference.x, rtol=1e-5)
        np.testing.assert_allclose(ours.cost[b], reference.cost, rtol=1e-9)


def _lines(y: np.ndarray, **options: float) -> object:
    slopes = np.stack([np.ones(6), np.linspace(0, 1, 6)], axis=-1)
    return solve_replicates(
        lambda u: u @ slopes.T - y,
        lambda u: np.broadcast_to(slopes, (len(u), 6, 2)),
        np.zeros((len(y), 2)),
        prior_mean=np.zeros(2),
        prior_sd=np.full(2, np.inf),
    )


def test_problems_do_not_influence_each_other() -> None:
    x = np.linspace(0, 1, 6)
    y = np.stack([1 + x, 5 - 3 * x])
    np.testing.assert_allclose(_lines(y).u[1], _lines(y[1:]).u[0], rtol=1e-12)


def test_a_start_without_a_finite_cost_is_not_called_converged() -> None:
    solution = solve_replicates(
        lambda u: np.full((len(u), 3), np.nan),
        lambda u: np.full((len(u), 3, 1), np.nan),
        np.zeros((1, 1)),
        prior_mean=np.zeros(1),
        prior_sd=np.ones(1),
    )
    assert not np.isfinite(solution.cost[0])
    assert not solution.converged[0]


def test_too_few_steps_are_not_called_converged() -> None:
    x = np.linspace(0, 3, 12)
    y = np.exp(-3.0 * x)[None]
    solution = solve_replicates(
        lambda u: np.exp(-u * x) - y,
        lambda u: (-x * np.exp(-u * x))[..., None],
        np.full((1, 1), 0.01),
        prior_mean=np.zeros(1),
        prior_sd=np.full(1, np.inf),
        max_iterations=1,
    )
    assert not solution.converged[0]


def test_a_problem_that_failed_is_solved_again_from_where_another_ended() -> None:
    """From far away the curve is flat and its slope overflows; from its neighbour's optimum it is easy."""
    x = np.linspace(0, 3, 12)
    y = np.exp(-np.array([[1.0], [1.1]]) * x)

    def values(u: np.ndarray) -> np.ndarray:
        return np.where(u > 300.0, np.nan, np.exp(-np.minimum(u, 300.0) * x))

    solution = solve_replicates(
        lambda u: values(u) - y,
        lambda u: (-x * values(u))[..., None],
        np.array([[0.5], [400.0]]),
        prior_mean=np.zeros(1),
        prior_sd=np.full(1, np.inf),
    )
    assert solution.converged.all()
    np.testing.assert_allclose(solution.u[:, 0], [1.0, 1.1], rtol=1e-5)
