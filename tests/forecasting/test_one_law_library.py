"""Forecasts fit the laws of `forecast.laws`, and read how each fit ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from forecast.core.errors import NotForecastableError
from forecast.core.forecasts import Target
from forecast.core.metrics import TEXT_METRICS
from forecast.core.observations import Ladder
from forecast.forecasting import engine, forecast_ladder, registry
from forecast.forecasting.method import Method
from forecast.forecasting.methods.two_step import TwoStep
from forecast.forecasting.preparation import prepare
from forecast.forecasting.replicates import resample
from forecast.laws import replicate_fit
from forecast.laws.replicate_solver import ReplicateSolution, solve_replicates

Simulate = Callable[..., Ladder]
TARGET = Target(name="big", params=5e9, tokens=1e11, flops=3e21)


def _failing(rows: Callable[[int], np.ndarray]) -> Callable[..., ReplicateSolution]:
    """The solver, with some of its problems reported as not converged."""

    def solve(*args: object, **options: object) -> ReplicateSolution:
        found = solve_replicates(*args, **options)  # type: ignore[arg-type]
        return replace(found, converged=found.converged & ~rows(len(found.u)))

    return solve


def test_a_method_of_other_laws_is_a_few_words(simulate: Simulate) -> None:
    """Kaplan's law in C has no irreducible term: its roles are known, so nothing else need be said."""
    method = TwoStep(name="two-step-power", summary="without irreducible loss", metrics=TEXT_METRICS, first=("kaplan-compute",))
    sample = prepare(simulate(), metric="acc").sample
    fitted = method.fit(resample(sample, 4, np.random.default_rng(0)))
    nll, measured = fitted.nll(sample.points), sample.nll["nll_per_char"]
    assert nll is not None
    assert np.abs(np.log(nll[0] / measured[0])).max() < 0.1
    assert np.isfinite(fitted.accuracy(sample.points)).all()


def test_replicates_that_did_not_converge_are_left_out_and_counted(simulate: Simulate, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = forecast_ladder(simulate(), [TARGET], method="direct")[0]
    monkeypatch.setattr(replicate_fit, "solve_replicates", _failing(lambda count: np.arange(count) % 4 == 3))
    found = forecast_ladder(simulate(), [TARGET], method="direct")[0]
    assert found.accuracy.point == pytest.approx(whole.accuracy.point, abs=1e-9)
    assert found.accuracy.hi - found.accuracy.lo == pytest.approx(whole.accuracy.hi - whole.accuracy.lo, rel=0.2)
    assert any("25% of the fits of 'direct' did not converge and are left out" in text for text in found.warnings)
    assert not any("did not converge" in text for text in whole.warnings)


def test_a_forecast_whose_fits_mostly_fail_says_so(simulate: Simulate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicate_fit, "solve_replicates", _failing(lambda count: np.arange(count) > count // 3))
    found = forecast_ladder(simulate(), [TARGET], method="direct")[0]
    assert found.verdict.value != "predictable"
    assert any("of the fits of 'direct' did not converge" in reason for reason in found.reasons)


def test_a_member_whose_fit_to_the_data_failed_has_no_say(simulate: Simulate, monkeypatch: pytest.MonkeyPatch) -> None:
    ladder = simulate()
    only_direct = forecast_ladder(ladder, [TARGET], method="direct")[0]
    monkeypatch.setattr(replicate_fit, "solve_replicates", _failing(lambda count: np.ones(count, dtype=bool)))
    with pytest.raises(NotForecastableError, match="no fit of method 'direct'"):
        forecast_ladder(ladder, [TARGET], method="direct")
    assert np.isfinite(only_direct.accuracy.point)


def test_every_method_of_laws_names_laws_that_exist() -> None:
    methods: list[Method] = list(registry.all_methods().values())
    named = {law for method in methods for law in (getattr(method, "law", None), *getattr(method, "first", ())) if law}
    assert named >= {"accuracy-compute", "accuracy-scale", "power-law-offset", "chinchilla"}
    assert engine.REPLICATES > 1
