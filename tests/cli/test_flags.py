"""Arguments of the library, as the command line spells them."""

from __future__ import annotations

import pytest

from forecast.cli.flags import flag, remember_options, with_flags
from forecast.core.errors import ForecastError, UsageError
from forecast.core.scale import check_scale


def test_an_error_names_its_argument() -> None:
    with pytest.raises(UsageError) as caught:
        check_scale("", tokens=3)
    assert caught.value.argument == "tokens"
    assert str(caught.value).startswith("`tokens=` is 3")
    assert "--" not in str(caught.value)
    assert ForecastError("nothing", argument="level").argument == "level"
    assert ForecastError("a column `chance`").argument == ""


def test_the_command_line_adds_the_dashes() -> None:
    remember_options(["--task", "-t", "--tokens", "--checkpoints-table"])
    assert (
        with_flags("`tokens=` is 3; a column `chance`, a `table=`") == "--tokens is 3; a column `chance`, a --checkpoints-table"
    )
    assert flag("tasks") == "--task"
    remember_options(["--tasks", "--table"])
    assert (flag("tasks"), flag("task"), flag("table")) == ("--tasks", "--tasks", "--table")
