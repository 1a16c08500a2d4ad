"""The mixture of laws and curves: evidence moves its weights, further voices join it, single laws stay themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from forecast.core.distribution import Distribution
from forecast.core.observations import Ladder
from forecast.forecasting.blending import Part, blend, blend_with, curves_at_origin
from forecast.forecasting.curve_posterior import fit_curves
from forecast.forecasting.ensemble import member_names
from forecast.forecasting.predictive import Predictive, predict_points
from forecast.forecasting.preparation import prepare
from forecast.forecasting.sample import Points, Sample

Simulate = Callable[..., Ladder]


def _points(sample: Sample, beyond: float = 1.0) -> Points:
    nowhere = np.full(1, np.nan)
    return Points(log_flops=np.array([sample.log_flops.max() + beyond]), log_params=nowhere, log_tokens=nowhere)


def _predict(sample: Sample, beyond: float = 1.0, **options: object) -> Predictive:
    names = member_names(sample, "auto")
    rng = np.random.default_rng(0)
    return predict_points(sample, _points(sample, beyond), names, replicates=8, rng=rng, origins_at_most=3, **options)  # type: ignore[arg-type]


def test_weights_are_relative_and_one_part_is_itself() -> None:
    low, high = (Distribution.from_samples([x]) for x in (0.2, 0.8))
    mixed = blend([Part(expected=low, log_weight=5.0), Part(expected=high, log_weight=5.0 + np.log(3.0))])
    assert mixed.probability_above(0.5) == pytest.approx(0.75)
    assert blend([Part(expected=low, log_weight=-900.0)]).median == 0.2


def test_back_tests_move_the_ensembles_weight(simulate: Simulate) -> None:
    sample = prepare(simulate(sizes=4, ratios=(20.0,)), metric="acc").sample
    posterior = fit_curves(sample)
    shares = [np.exp(blend_with(posterior, gain).log_weight) for gain in (-3.0, 0.0, 3.0, 900.0)]
    assert (np.diff(shares) > 0).all()
    assert shares[-1] <= 1.0


def test_the_score_at_an_origin_prefers_what_was_near(simulate: Simulate) -> None:
    sample = prepare(simulate(sizes=5, ratios=(20.0,)), metric="acc").sample
    points, truth = _points(sample), np.array([0.9])
    near, far = (curves_at_origin(sample, points, truth, [Distribution.from_student(at, 0.01, 5)]).gain for at in (0.9, 0.3))
    assert near > 0.0 > far
    # One miss never decides: the probabilities have a floor.
    assert far > -10.0


def test_a_smooth_family_leaves_the_forecast_to_the_laws(simulate: Simulate) -> None:
    sample = prepare(simulate(sizes=6), metric="acc").sample
    found, alone = _predict(sample), _predict(sample, with_curves=False)
    assert np.exp(found.blend.log_weight) > 0.75
    assert found.point == pytest.approx(alone.point, abs=0.01)
    assert not alone.blend.voices


def test_near_chance_the_forecast_has_an_upper_tail_that_the_laws_lack(simulate: Simulate) -> None:
    ladder = simulate(sizes=5, ratios=(20.0,), chance=0.0, hardness=0.35)
    sample = prepare(ladder, metric="acc").sample
    assert sample.accuracy.max() < 0.05
    found, alone = _predict(sample, 3.5).at(0), _predict(sample, 3.5, with_curves=False).at(0)
    assert found.probability_above(0.3) > alone.probability_above(0.3) + 0.02
    lo, hi = found.interval(0.95)
    assert hi - found.median > 3.0 * (found.median - lo)


@dataclass(frozen=True, kw_only=True)
class _Oracle:
    value: float
    log_weight: float

    def parts(self, points: Points, recipe_shift: float) -> Sequence[Part]:
        expected = Distribution.from_student(self.value, 0.01 + recipe_shift, 5)
        return [Part(expected=expected, log_weight=self.log_weight)] * points.log_flops.size


def test_a_further_voice_joins_the_mixture(simulate: Simulate) -> None:
    sample = prepare(simulate(sizes=4, ratios=(20.0,)), metric="acc").sample
    plain = _predict(sample).at(0).cdf(0.1)
    joined = _predict(sample, voices=[_Oracle(value=0.02, log_weight=0.0)]).at(0).cdf(0.1)
    # Its weight is relative to 1 for laws and curves together.
    assert joined == pytest.approx(0.5 + 0.5 * plain, abs=0.01)
