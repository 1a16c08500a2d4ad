"""Curves for drawing span everything that was fitted, and the target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from forecast.core.forecasts import Target
from forecast.core.observations import Ladder
from forecast.forecasting import forecast_ladder

Simulate = Callable[..., Ladder]


def test_curves_reach_from_the_smallest_fitted_checkpoint_to_the_target(simulate: Simulate) -> None:
    ends = simulate(sizes=5, ratios=tuple(np.geomspace(4.0, 40.0, 30)), run_noise=0.0)
    # Thirty checkpoints of each of five runs: more than a fit takes one by one.
    ladder = replace(
        ends,
        model=tuple(f"run{i // 30}" for i in range(len(ends))),
        is_final=np.arange(len(ends)) % 30 == 29,
    )
    target = Target(name="big", flops=30 * float(ladder.flops.max()))
    [forecast] = forecast_ladder(ladder, [target])
    curves = forecast.curves
    assert curves is not None
    assert curves.nll_of_flops is not None
    assert curves.accuracy_of_nll is not None
    for curve in (curves.accuracy_of_flops, curves.nll_of_flops):
        assert curve is not None
        np.testing.assert_allclose(curve.x[[0, -1]], [forecast.fitted_on.min_flops, target.flops], rtol=1e-9)
        assert np.diff(np.log(curve.x)).max() < 0.1
    assert forecast.nll is not None
    assert curves.accuracy_of_nll.x.min() <= forecast.nll.point * 1.001
    final = ladder.metrics[forecast.nll.metric][ladder.is_final]
    assert curves.accuracy_of_nll.x.max() >= final.max()
