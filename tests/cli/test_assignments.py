"""Options of the form NAME=VALUE."""

from __future__ import annotations

import pytest

from forecast.cli.assignments import parse_assignments, parse_fixed, parse_soft
from forecast.core.errors import UsageError


def test_names_and_values_are_parted_at_the_first_sign() -> None:
    assert parse_assignments(["a=b=c"], "--x") == {"a": "b=c"}
    assert parse_fixed(["E=1e-3"]) == {"E": 1e-3}
    assert parse_soft(["E=1:0.5"]) == {"E": (1.0, 0.5)}


def test_what_cannot_be_read_is_refused() -> None:
    for bad in (["E=x"], ["E"]):
        with pytest.raises(UsageError):
            parse_fixed(bad)
    with pytest.raises(UsageError, match="NAME=MEAN:SD"):
        parse_soft(["E=1"])
