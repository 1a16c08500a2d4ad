"""Forecasts and fits are kept whole, once, and meet the truth when it is measured."""

from __future__ import annotations

import json

import numpy as np
import pytest

from forecast.api.predict import stored_forecasts
from forecast.core.distribution import Distribution
from forecast.core.forecasts import BacktestSummary, FittedOn, Forecast, IntervalEstimate, Target, Verdict
from forecast.core.observation_rows import ObservationRow
from forecast.store import Store


def make_forecast(point: float = 0.6) -> Forecast:
    return Forecast(
        task="t",
        family="f",
        target=Target(name="big", params=1e9, tokens=2e10, flops=1.2e20),
        level=0.9,
        nll=None,
        accuracy=IntervalEstimate(metric="acc", point=point, lo=0.5, hi=0.7),
        method="two-step",
        verdict=Verdict.UNCERTAIN,
        reasons=("Few runs.",),
        backtest=BacktestSummary(origins=0, mae=None, persistence_mae=None, coverage=None),
        fitted_on=FittedOn(n_checkpoints=4, n_runs=4, min_flops=1e17, max_flops=1e19),
        quantiles={0.05: 0.5, 0.5: 0.6, 0.95: 0.7, 0.9871: 0.73},
        distribution=Distribution.from_student(point, 0.05, 5),
    )


def measured(model: str, acc: float) -> ObservationRow:
    return ObservationRow(family="f", model=model, task="t", flops=1.2e20, metrics={"acc": acc}, is_final=True)


def test_a_forecast_is_scored_when_the_truth_arrives(store: Store) -> None:
    store.add_observations([measured("small", 0.3)], source="s")
    first = store.save_forecast(make_forecast(), data_hash="d", code_version="1")
    assert store.save_forecast(make_forecast(), data_hash="d", code_version="1") == first
    (row,) = store.forecasts()
    assert (row["truth"], row["error"], row["covered"]) == (None, None, None)
    assert json.loads(str(row["payload"]))["reasons"] == ["Few runs."]
    store.add_observations([measured("big", 0.65)], source="s")
    (row,) = store.forecasts()
    assert row["truth"] == 0.65
    assert row["error"] == pytest.approx(0.05)
    assert row["covered"] is True


def test_the_distribution_is_kept_short_enough_to_store_and_true_to_the_interval(store: Store) -> None:
    made = make_forecast()
    store.save_forecast(made, data_hash="d", code_version="1")
    (row,) = store.forecasts()
    kept = json.loads(str(row["payload"]))["distribution"]
    assert len(kept["values"]) < 250
    again, whole = Distribution(np.array(kept["values"]), np.array(kept["probabilities"])), made.distribution
    assert whole is not None
    assert again.quantile(0.9871) == whole.quantile(0.9871)
    assert again.probability_above(0.65) == pytest.approx(whole.probability_above(0.65), abs=1e-3)
    assert again.crps(0.7) == pytest.approx(whole.crps(0.7), abs=1e-4)


@pytest.mark.parametrize(("truth", "signed", "held"), [(0.65, -0.05, True), (0.45, 0.15, False)])
def test_a_signed_and_an_absolute_error_have_one_name_each_everywhere(
    store: Store, truth: float, signed: float, held: bool
) -> None:
    store.save_forecast(make_forecast(), data_hash="d", code_version="1")
    store.add_observations([measured("big", truth)], source="s")
    (in_sql,) = store.forecasts()
    (in_json,) = stored_forecasts(store.path)
    for row in (in_sql, in_json):
        assert row["signed_error"] == pytest.approx(signed)
        assert row["absolute_error"] == pytest.approx(abs(signed))
        assert row["covered"] is held
        assert row["inside"] is held
    # What was promised before: the view's `error` has no sign, that of the JSON has one.
    assert in_sql["error"] == in_sql["absolute_error"]
    assert in_json["error"] == in_json["signed_error"]


def test_two_truths_that_differ_are_no_truth(store: Store) -> None:
    store.save_forecast(make_forecast(), data_hash="d", code_version="1")
    store.add_observations([measured("big", 0.65)], source="one")
    store.add_observations([measured("big", 0.8)], source="two")
    (row,) = store.forecasts()
    assert row["truth"] is None


def test_a_fit_is_kept_once_with_its_payload(store: Store) -> None:
    known = {"law": "power", "family": "f", "task": "t", "status": "converged", "data_hash": "d", "code_version": "1"}
    payload = {"params": {"a": 1.25}, "note": float("nan")}
    assert store.save_fit(**known, payload=payload) == store.save_fit(**known, payload=payload)
    (row,) = [row for batch in store.query("FROM fits") for row in batch.to_pylist()]
    assert json.loads(row["payload"]) == {"note": None, "params": {"a": 1.25}}
