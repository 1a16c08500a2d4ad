"""What `import forecast` offers is there, documented, and costs nothing until it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import forecast


@pytest.mark.parametrize("name", forecast.__all__)
def test_every_public_name_exists_and_says_what_it_is(name: str) -> None:
    assert getattr(forecast, name).__doc__


def test_the_two_lists_agree() -> None:
    assert sorted(forecast._HOMES) == sorted(forecast.__all__)


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'evalute'"):
        _ = forecast.evalute  # type: ignore[attr-defined]


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, forecast; print([m for m in ('numpy', 'torch', 'duckdb', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
