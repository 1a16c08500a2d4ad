"""Rungs of a ladder: budgets, shapes, and the constants they are designed with."""

from __future__ import annotations

import numpy as np
import pytest

from forecast.laws.hyperparameters import Sweep, printed_hyperparameters, refitted_hyperparameters
from forecast.laws.optimal import fixed_ratio_frontier
from forecast.laws.planning import printed_basis
from forecast.laws.rungs import design_rung, doubts, ladder_budgets, transformer_shape


def test_budgets_are_half_a_decade_apart() -> None:
    budgets = np.array(ladder_budgets(1e20, 4))
    assert budgets.sum() == pytest.approx(1e20)
    assert budgets[1:] / budgets[:-1] == pytest.approx(10**0.5)


@pytest.mark.parametrize(("params", "shape"), [(85e6, (12, 768)), (1.2e9, None), (7e9, None), (5e4, None)])
def test_shapes_are_real_transformers(params: float, shape: tuple[int, int] | None) -> None:
    n_layer, d_model = transformer_shape(params)
    assert d_model % 64 == 0
    assert n_layer >= 1
    if params > 1e6:
        assert 12 * n_layer * d_model**2 == pytest.approx(params, rel=0.05)
        assert 20 < d_model / n_layer < 160
    if shape:
        assert (n_layer, d_model) == shape


def test_a_rung_spends_its_budget() -> None:
    basis = printed_basis()
    rung = design_rung(
        1e19, fixed_ratio_frontier(20.0), basis.hyperparameters, loss_theta=basis.loss_theta, n_ctx=2048, flops_per_second=1e15
    )
    assert 6 * rung.params_non_embedding * rung.tokens == pytest.approx(1e19)
    assert rung.tokens_per_param == pytest.approx(20, rel=0.2)
    assert rung.hours == pytest.approx(1e4 / 3600)
    assert doubts([rung]) == []


def test_small_rungs_are_doubted() -> None:
    basis = printed_basis()
    rung = design_rung(
        1e12, fixed_ratio_frontier(20.0), basis.hyperparameters, loss_theta=basis.loss_theta, n_ctx=2048, flops_per_second=None
    )
    assert len(doubts([rung])) == 2
    assert rung.hours is None


def test_a_sweep_gives_its_own_constants_where_it_has_three_budgets() -> None:
    c = np.repeat(np.geomspace(1e18, 1e20, 4), 3)
    factor = np.tile([0.5, 1.0, 2.0], 4)
    sweep = Sweep(flops=c, loss=3.0 + np.log(factor) ** 2, learning_rate=0.5 * c**-0.15 * factor, batch_tokens=0.3 * c**0.33)
    found = refitted_hyperparameters(sweep)
    assert found is not None
    assert found.learning_rate(1e21) == pytest.approx(0.5 * 1e21**-0.15, rel=1e-6)
    assert found.batch_tokens(1e21) == pytest.approx(0.3 * 1e21**0.33, rel=1e-6)
    assert found.source.startswith("refitted")
    few = Sweep(flops=c[:6], loss=sweep.loss[:6], learning_rate=sweep.learning_rate[:6], batch_tokens=sweep.batch_tokens[:6])
    assert refitted_hyperparameters(few) is None
    assert printed_hyperparameters().source.startswith("DeepSeek 2024")
