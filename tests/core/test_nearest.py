"""Unknown names are answered in one way."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import forecast
from forecast.core.errors import UsageError
from forecast.core.nearest import did_you_mean, listed, nearest, require, suggest


def test_spelling_apart_from_letters_does_not_count() -> None:
    assert nearest("ARC-Easy", ["arc_easy", "arc_easy_2", "piqa"]) == ["arc_easy"]
    assert did_you_mean("arc_eazy", ["arc_easy", "piqa"]) == "did you mean 'arc_easy'?"
    assert did_you_mean("zzz", ["arc_easy"]) == ""


def test_where_nothing_is_near_the_known_names_are_listed_up_to_a_point() -> None:
    names = [f"n{number:02d}" for number in range(40)]
    assert suggest("zzz", names, kind="name").startswith("each name: n00, n01")
    assert listed(names).endswith(", n11, ...")
    with pytest.raises(UsageError, match=r"^unknown task 'x'; expected one of n00, .*\.\.\.$"):
        require("task", ["n01", "x"], names)


def test_no_other_place_looks_for_near_names_itself() -> None:
    root = Path(str(forecast.__file__)).parent
    texts = {file.relative_to(root).as_posix(): file.read_text(encoding="utf-8") for file in root.rglob("*.py")}
    assert [name for name, text in texts.items() if re.search(r"\bdifflib\b", text)] == ["core/nearest.py"]
