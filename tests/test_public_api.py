"""What `import forecast` offers is there, documented, and costs nothing until it is used."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import forecast


@pytest.mark.parametrize("name", forecast.__all__)
def test_every_public_name_exists_and_says_what_it_is(name: str) -> None:
    assert getattr(forecast, name).__doc__


def test_names_of_before_are_there() -> None:
    # Public names are promises.
    before = {"CheckpointRequest", "FlopsConvention", "Forecast", "ForecastError", "IntervalEstimate", "ItemMatrix", "Ladder"}
    before |= {"ObservationRow", "Store", "Target", "Verdict", "draw_forecast", "evaluate", "fit", "forecast_ladder", "get_law"}
    before |= {"predict", "read_observations", "select", "to_ladders", "training_flops", "write_report"}
    assert before < set(forecast.__all__) == set(dir(forecast))


def test_each_name_is_listed_once_and_visible_to_type_checkers() -> None:
    stub = (Path(forecast.__file__).parent / "__init__.pyi").read_text(encoding="utf-8")
    names = re.findall(r"^from \S+ import (\w+) as (\w+)", stub, flags=re.MULTILINE)
    assert all(name == shown for name, shown in names)
    assert len({name for name, _ in names}) == len(names) == len(forecast.__all__)
    assert (Path(forecast.__file__).parent / "py.typed").is_file()


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'evalute'"):
        _ = forecast.evalute  # type: ignore[attr-defined]


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, forecast; print([m for m in ('numpy', 'torch', 'duckdb', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
