"""`forecast.json` survives a round trip, and anything malformed is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forecast.core.checkpoint_note import FILE_NAME, CheckpointNote, read_note, write_note
from forecast.core.errors import InputError

NAMES = st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable())
COUNTS = st.none() | st.integers(min_value=0, max_value=10**15)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    family=NAMES,
    model=NAMES,
    step=COUNTS,
    tokens=COUNTS,
    flops=st.none() | st.floats(min_value=0, allow_nan=False, allow_infinity=False),
)
def test_round_trip(tmp_path: Path, family: str, model: str, step: int | None, tokens: int | None, flops: float | None) -> None:
    note = CheckpointNote(
        family=family,
        model=model,
        step=step,
        tokens=tokens,
        flops=flops,
        flops_convention="6nd-total" if flops is not None else None,
        metadata={"seed": 3, "schedule": "cosine"},
    )
    write_note(tmp_path, note)
    assert read_note(tmp_path) == note


def test_no_note_is_none(tmp_path: Path) -> None:
    assert read_note(tmp_path) is None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"family": ""}, "family"),
        ({"tokens": -1}, "tokens"),
        ({"tokens": 1.5}, "tokens"),
        ({"params": True}, "params"),
        ({"flops": 1e18}, "convention"),
        ({"flops": "1e18", "flops_convention": "6nd-total"}, "flops"),
        ({"is_final": "yes"}, "is_final"),
        ({"metadata": []}, "metadata"),
        ({"accuracy": 0.5}, "accuracy"),
    ],
)
def test_malformed_notes_are_refused_by_field(tmp_path: Path, change: dict[str, object], named: str) -> None:
    (tmp_path / FILE_NAME).write_text(json.dumps({"family": "f", "model": "m"} | change), encoding="utf-8")
    with pytest.raises(InputError, match=named):
        read_note(tmp_path)


def test_broken_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be read"):
        read_note(tmp_path)
