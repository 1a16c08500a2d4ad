"""How a forecast is made rides in one record, checked where it is made; the functions with keywords say the same by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields

import pytest

from forecast.api.predict import predict, predict_ladder
from forecast.core.errors import UsageError
from forecast.core.forecasts import Target
from forecast.core.observations import Ladder
from forecast.forecasting import forecast_ladder
from forecast.forecasting.request import ForecastRequest

TARGET = Target(name="t", flops=1e22)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "direkt"}, "unknown method 'direkt'.*did you mean 'direct'"),
        ({"level": 1.0}, "level is 1"),
        ({"level": float("nan")}, "level is nan"),
        ({"recipe_shift": -0.1}, "recipe shift is -0.1"),
        ({"fit_max_flops": -1.0}, "`fit_max_flops=`"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_any_data_are_read(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ForecastRequest(**options)  # type: ignore[arg-type]


def test_a_request_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        ForecastRequest().level = 0.5  # type: ignore[misc]


def test_keywords_and_the_record_make_the_same_forecast(simulate: Callable[..., Ladder]) -> None:
    request = ForecastRequest(method="direct", level=0.5, seed=3, recipe_shift=0.02)
    (by_record,) = predict_ladder(simulate(), [TARGET], request)
    (by_words,) = forecast_ladder(simulate(), [TARGET], method="direct", level=0.5, seed=3, recipe_shift=0.02)
    assert by_record.forecast.accuracy == by_words.accuracy
    assert by_words.level == 0.5


def test_predict_hands_every_field_of_the_record_on(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    seen: list[ForecastRequest] = []
    monkeypatch.setattr("forecast.api.predict.answer", lambda _source, request, **_: seen.append(request) or [])
    said = {
        "method": "direct",
        "level": 0.5,
        "seed": 7,
        "metric": "acc",
        "recipe_shift": 0.1,
        "fit_max_flops": 1e20,
        "num_fewshot": 5,
        "chance": 0.25,
    }
    predict(tmp_path, tasks=["piqa"], targets=[TARGET], **said)  # type: ignore[arg-type]
    assert {field.name: getattr(seen[0], field.name) for field in fields(ForecastRequest)} == said
