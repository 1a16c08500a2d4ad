"""What numbers a training run can have."""

from __future__ import annotations

import math

import pytest

from forecast.core.errors import InputError, UsageError
from forecast.core.scale import check_scale, scale_fault


@pytest.mark.parametrize(
    "run",
    [
        {"params": 70_426_624, "params_non_embedding": 18_915_328, "tokens": 2_097_152, "flops": 2.4e14},
        {"params": 175e9, "tokens": 3.2e6},
        {"params": 1.6e12, "tokens": 5e11, "flops": 4e21},
        {"params": 0.5e9, "tokens": 36e12, "flops": 1.1e23},
        {"params": 8000, "tokens": 512},
        {"flops": 5e26},
        {},
    ],
)
def test_real_runs_pass(run: dict[str, float]) -> None:
    assert scale_fault(**run) is None


@pytest.mark.parametrize(
    ("run", "quantity"),
    [
        ({"params": 7}, "params"),
        ({"params": math.inf}, "params"),
        ({"params": math.nan}, "params"),
        ({"params": -1e9}, "params"),
        ({"params_non_embedding": 3e17}, "params_non_embedding"),
        ({"tokens": math.inf}, "tokens"),
        ({"params": 7e9, "tokens": 300}, "tokens"),
        ({"params": 1e3, "tokens": 1e15}, "tokens"),
        ({"flops": 7}, "flops"),
        ({"flops": 1e308}, "flops"),
        ({"params": 7e9, "tokens": 2e12, "flops": 8.4e10}, "flops"),
        ({"params": 7e9, "tokens": 2e12, "flops": 8.4e28}, "flops"),
        ({"tokens": 0}, "tokens"),
    ],
)
def test_what_no_run_can_have_is_named(run: dict[str, float], quantity: str) -> None:
    fault = scale_fault(**run)
    assert fault is not None
    assert fault.quantity == quantity
    assert fault.found.startswith(quantity)


def test_only_a_checkpoint_may_be_untrained() -> None:
    assert scale_fault(params=7e7, tokens=0, flops=0, may_be_untrained=True) is None
    assert scale_fault(params=0, may_be_untrained=True) is not None


def test_the_error_names_what_is_checked_and_what_to_do() -> None:
    with pytest.raises(UsageError, match="target 'x': flops is 7; expected a number of training FLOPs from .*check the unit"):
        check_scale("target 'x'", flops=7)
    with pytest.raises(InputError, match="row 3"):
        check_scale("row 3", params=math.nan, error=InputError)
