"""Losses and spaces by name."""

from __future__ import annotations

import numpy as np
import pytest

from forecast.core.errors import UsageError
from forecast.laws import BetaBinomial, SoftL1, Space, get_law
from forecast.laws.named_losses import NAMES, loss_title, parse_loss, parse_space


def test_every_name_gives_the_loss_that_bears_it() -> None:
    items = np.array([100.0])
    assert [parse_loss(name, get_law("sigmoid"), items).name for name in NAMES] == list(NAMES)
    assert isinstance(parse_loss("Beta_Binomial", get_law("sigmoid"), items), BetaBinomial)
    assert loss_title(parse_loss("soft-l1:0.1", get_law("sigmoid"), None)) == "soft-l1 (delta 0.1)"
    assert parse_loss("soft-l1", get_law("sigmoid"), None) == SoftL1()


def test_without_a_name_the_authors_choice_is_taken() -> None:
    assert parse_loss("", get_law("chinchilla"), None).name == "huber"
    assert parse_loss("", get_law("power-law"), None).name == "least-squares"


@pytest.mark.parametrize("text", ["hubris", "huber:-1", "huber:x", "least-squares:0.1", "binomial"])
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_loss(text, get_law("sigmoid"), None)


def test_spaces() -> None:
    assert parse_space(None) is None
    assert parse_space("LOG") is Space.LOG
    with pytest.raises(UsageError, match="log or linear"):
        parse_space("x")
