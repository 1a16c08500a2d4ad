"""The factor on a spread follows what back-tests say about the law, and only that."""

from __future__ import annotations

import numpy as np
import pytest

from forecast.forecasting.calibration import Evidence, Spread, posterior_factor


def _evidence(error: float, *, model: float = 1.0, noise: float = 0.0, share: float = 1.0, times: int = 1) -> Evidence:
    one = np.ones(times)
    return Evidence(error=error * one, spread=Spread(model=model * one, noise=noise * one), share=share)


def test_the_factor_grows_with_the_errors_and_with_how_much_was_fitted() -> None:
    assert posterior_factor([_evidence(3.0)] * 20) > posterior_factor([_evidence(3.0)]) > 1.0
    assert posterior_factor([_evidence(0.2)] * 5) < posterior_factor([_evidence(0.2)]) < 1.0
    assert posterior_factor([_evidence(3.0)]) > posterior_factor([_evidence(3.0, share=0.3)]) > 1.0


def test_many_origins_outweigh_the_prior() -> None:
    rng = np.random.default_rng(0)
    errors = 2.0 * rng.standard_t(5, size=400)
    assert posterior_factor([_evidence(float(e)) for e in errors]) == pytest.approx(2.0, rel=0.1)


def test_errors_that_noise_explains_leave_the_factor_alone() -> None:
    assert posterior_factor([_evidence(1.0, model=1e-4, noise=1.0)] * 20) == pytest.approx(1.0, abs=0.02)


def test_held_out_runs_of_one_origin_count_as_one() -> None:
    assert posterior_factor([_evidence(3.0, times=9)]) == pytest.approx(posterior_factor([_evidence(3.0)]))


def test_missing_forecasts_say_nothing() -> None:
    assert posterior_factor([_evidence(np.nan)]) == 1.0


def test_other_tasks_of_the_family_move_the_factor_the_less_the_more_a_task_says_itself() -> None:
    wide, exact = [_evidence(3.0)] * 8, [_evidence(1.0)] * 8
    from_others = posterior_factor([], [wide] * 6)
    assert 1.0 < posterior_factor([], [wide]) < from_others < 3.0
    assert posterior_factor(exact) < posterior_factor(exact, [wide] * 6) < from_others
    assert posterior_factor([], [[], []]) == pytest.approx(1.0)
    assert posterior_factor([_evidence(2.0)], [[]]) == pytest.approx(posterior_factor([_evidence(2.0)]), rel=1e-6)


def test_a_lone_task_has_the_prior_of_family_and_task_together() -> None:
    """sqrt(0.4^2 + 0.3^2) = 0.5: the posterior mean of log k under a normal prior of that width, by quadrature."""
    grid = np.linspace(-4, 4, 4001)
    log_t = -3.0 * np.log1p(9.0 / np.exp(2 * grid) / 5.0) - grid
    density = np.exp(log_t - 0.5 * np.square(grid / 0.5))
    assert posterior_factor([_evidence(3.0)]) == pytest.approx(np.exp(np.sum(density * grid) / np.sum(density)), rel=0.01)
