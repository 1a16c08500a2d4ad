"""The whole way on a family so small that nothing is learnt: every room is passed, and a second run repeats nothing."""

from __future__ import annotations

import pytest

from forecast.api.demo import run_demo
from forecast.core.errors import ForecastError

HEAD = """\
family: tiny
title: Tiny
training:
  architecture: gpt_neox
  context_length: 32
  rotary_fraction: 1.0
  schedule: {kind: cosine}
  members:
"""
SIZES = ((4, 640), (8, 1280), (12, 2560), (16, 5120), (24, 10240), (32, 20480))


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    card = folder / "tiny.yaml"
    rows = [
        f"    - {{name: tiny-{d}, hidden_size: {d}, layers: 1, heads: 2, tokens: {tokens}, batch_tokens: 128}}\n"
        for d, tokens in SIZES
    ]
    card.write_text(HEAD + "".join(rows), encoding="utf-8")
    return folder, card, run_demo(folder, seed=3, card=card, items=60, jobs=1)


def test_largest_member_is_hidden_and_forecast(demo):
    _, _, result = demo
    assert [member.model for member in result.members] == [f"tiny-{d}" for d, _ in SIZES]
    assert [member.hidden for member in result.members] == [False] * 5 + [True]
    assert result.forecast.target.name == "tiny-32"
    assert result.forecast.truth == pytest.approx(result.members[-1].acc)
    assert result.forecast.fitted_on.n_checkpoints == 5
    assert result.forecast.accuracy.lo <= result.forecast.accuracy.point <= result.forecast.accuracy.hi
    assert result.truth_inside == (result.forecast.accuracy.lo <= result.members[-1].acc <= result.forecast.accuracy.hi)
    assert result.plot.read_bytes().startswith(b"\x89PNG")


def test_second_run_trains_and_scores_nothing_and_says_the_same(demo):
    folder, card, first = demo
    times = {path: path.stat().st_mtime_ns for path in first.folder.glob("checkpoints/*/step*/*")}
    second = run_demo(folder, seed=3, card=card, items=60, jobs=1)
    assert second.members == first.members
    assert second.forecast.accuracy == first.forecast.accuracy
    assert {path: path.stat().st_mtime_ns for path in first.folder.glob("checkpoints/*/step*/*")} == times


def test_every_item_is_stored(demo):
    from forecast.store import Store

    _, _, result = demo
    batches = list(Store(result.db).query("SELECT count(*) AS n FROM item_scores"))
    assert batches[0].to_pylist() == [{"n": 6 * 60}]


def test_interruption_in_the_middle_of_a_training_is_made_good(demo, tmp_path, monkeypatch):
    _, card, whole = demo
    import forecast.training.family as family

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(family, "train_all", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_demo(tmp_path, seed=3, card=card, items=60, jobs=1)
    monkeypatch.undo()
    again = run_demo(tmp_path, seed=3, card=card, items=60, jobs=1)
    assert [member.acc for member in again.members] == [member.acc for member in whole.members]


def test_damaged_checkpoint_is_named(demo):
    folder, card, result = demo
    broken = next(result.folder.glob("checkpoints/tiny-4/step*/forecast.json"))
    content = broken.read_text(encoding="utf-8")
    broken.write_text("{", encoding="utf-8")
    try:
        with pytest.raises(ForecastError, match=r"tiny-4.*forecast\.json"):
            run_demo(folder, seed=3, card=card, items=60, jobs=1)
    finally:
        broken.write_text(content, encoding="utf-8")
