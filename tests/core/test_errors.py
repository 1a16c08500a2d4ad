"""One line per error, with its parts, and the documented exit codes."""

from __future__ import annotations

import pytest

from forecast.core import errors


def test_message_joins_found_expected_and_remedy() -> None:
    error = errors.InputError("acc is 63", expected="a fraction in [0, 1]", remedy="divide by 100")
    assert str(error) == "acc is 63; expected a fraction in [0, 1]; divide by 100"
    assert (error.found, error.expected, error.remedy) == ("acc is 63", "a fraction in [0, 1]", "divide by 100")


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.ForecastError, 1),
        (errors.InputError, 1),
        (errors.CheckpointError, 1),
        (errors.HubError, 1),
        (errors.StoreError, 1),
        (errors.FitError, 1),
        (errors.NotForecastableError, 1),
        (errors.UsageError, 2),
        (errors.PartialResultError, 3),
    ],
)
def test_exit_codes_are_the_documented_ones(kind: type[errors.ForecastError], code: int) -> None:
    assert kind("x").exit_code == code
