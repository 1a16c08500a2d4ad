"""Numbers beyond what a column holds, and numbers that are none, are wrong use (exit code 2), said in one line."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from forecast.cli.app import build_app
from forecast.core.errors import UsageError


@pytest.mark.parametrize(
    "arguments",
    [
        ["eval", "--limit", "99999999999999999999"],
        ["eval", "--limit", "0"],
        ["eval", "--limit", "-3"],
        ["eval", "--seed", "18446744073709551616"],
        ["eval", "--seed", "-1"],
        ["eval", "--num-fewshot", "-1"],
        ["eval", "--num-fewshot", "4294967296"],
        ["eval", "--token-budget", "99999999999999999999"],
        ["eval", "--tokens", "inf"],
        ["eval", "--tokens", "1e9,nan"],
        ["eval", "--tokens", "-5"],
        ["eval", "--tokens", "1e19"],
        ["eval", "--tokens", "many"],
        ["eval", "--tokens", "1e9,,2e9"],
        ["eval", "--params", "nan"],
        ["eval", "--params", "inf"],
        ["eval", "--flops", "inf"],
        ["eval", "--flops", "-1e20"],
        ["train", "demo", "--seed", "99999999999999999999"],
        ["train", "demo", "--jobs", "99999999999999999999"],
        ["train", "demo", "--save-every", "nan"],
        ["train", "demo", "--save-every", "inf"],
        ["demo", "--seed", "99999999999999999999"],
        ["demo", "--seed", "-1"],
    ],
)
def test_impossible_numbers_are_wrong_use(arguments: list[str]) -> None:
    needed = ["--model", "gpt2", "--tasks", "arc_easy"] if arguments[0] == "eval" else []
    result = CliRunner().invoke(build_app(), [*arguments[:1], *needed, *arguments[1:]])
    # Whole numbers beyond 64 bits are refused for all options in one place, as wrong use of the command.
    assert result.exit_code == 2 or isinstance(result.exception, UsageError)
    assert arguments[-2] in result.output + str(result.exception)
    assert "Traceback" not in result.output
