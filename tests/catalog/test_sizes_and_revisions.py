"""What --sizes and --revisions mean."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast.catalog.families import load_family
from forecast.catalog.revisions import choose_revisions, log_spaced
from forecast.catalog.sizes import choose_models, parse_count
from forecast.core.errors import UsageError

MODELS = load_family("pythia").models
MODEL = MODELS[0]


def sizes(text: str) -> list[str]:
    return [model.size for model in choose_models(MODELS, text, family="pythia")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["70m", "160m", "410m", "1b", "1.4b", "2.8b", "6.9b", "12b"]),
        ("70m..1.4b", ["70m", "160m", "410m", "1b", "1.4b"]),
        ("70M..1.4B", ["70m", "160m", "410m", "1b", "1.4b"]),
        ("100m..1000m", ["160m", "410m", "1b"]),
        ("..160m", ["70m", "160m"]),
        ("6.9b..", ["6.9b", "12b"]),
        ("12b,70m,12b", ["70m", "12b"]),
        ("pythia-410m", ["410m"]),
        ("EleutherAI/pythia-410m", ["410m"]),
        ("1000m", ["1b"]),
        ("70000000..160000000", ["70m", "160m"]),
        ("1b, 1.4b ..2.8b", ["1b", "1.4b", "2.8b"]),
    ],
)
def test_sizes(text: str, expected: list[str]) -> None:
    assert sizes(text.replace(" ..", "..")) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("71m", "no size '71m'.*did you mean '70m'"),
        ("1.4b..70m", "runs downwards.*70m..1.4b"),
        ("170m..180m", "holds no model"),
        ("70m,", "an empty part"),
        ("small..large", "'small' is neither a size"),
        ("mini", "no size 'mini'"),
    ],
)
def test_wrong_sizes(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        sizes(text)


def steps(text: str) -> list[int | None]:
    return [revision.step for revision in choose_revisions(MODEL, text)]


def test_revisions() -> None:
    assert steps("final") == [143000]
    assert steps("main") == [143000]
    assert len(steps("all")) == 154
    assert steps("2000,1000,step1000") == [1000, 2000]
    assert steps("1000..4000") == [1000, 2000, 3000, 4000]
    assert steps("..4") == [0, 1, 2, 4]
    assert steps("142000..") == [142000, 143000]
    assert steps("1000,final") == [1000, 143000]
    assert steps("0") == [0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1500", "no step 1500.*nearest is 1000"),
        ("stp1000", "did you mean 'step1000'"),
        ("finl", "did you mean 'final'"),
        ("log:1", "a number from 2 to 153"),
        ("log:154", "a number from 2 to 153"),
        ("log:x", "no revision 'log:x'"),
        ("143001..", "holds no step"),
        ("", "empty"),
        ("..", "no revision"),
    ],
)
def test_wrong_revisions(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        steps(text)


@settings(deadline=None)
@given(st.integers(min_value=2, max_value=153))
def test_log_spacing_gives_exactly_that_many_with_both_ends(count: int) -> None:
    chosen = log_spaced(MODEL, count)
    numbers = [revision.step or 0 for revision in chosen]
    assert len(set(numbers)) == count
    assert numbers == sorted(numbers)
    assert (numbers[0], numbers[-1]) == (1, 143000)


def test_log_spacing_is_even_where_steps_allow() -> None:
    logs = [math.log(revision.step or 1) for revision in log_spaced(MODEL, 12)]
    gaps = [right - left for left, right in itertools.pairwise(logs)]
    # Early steps are powers of two: an ideal between two of them moves to the nearer one.
    assert max(gaps) <= 2 * min(gaps) + 1e-9


def test_counts() -> None:
    assert parse_count("20_000") is None
    assert parse_count("1.5k") == 1500
