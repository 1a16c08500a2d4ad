"""One family left out at a time."""

from __future__ import annotations

import numpy as np
import pytest

from forecast.api.family_backtest import FamilyRecord, backtest_families, score_families
from forecast.core.errors import NotForecastableError, UsageError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_larger_models_are_forecast_from_the_smallest():
    report = backtest_families(tasks="winogrande", families="Llama")
    assert {record.runs_fitted for record in report.records} == {1, 2, 3}
    for record in report.records:
        assert record.family == "Llama"
        assert record.extrapolation >= 1.9
        assert (record.own_point is None) == (record.runs_fitted < 3)
    first = next(score for score in report.scores if score.runs_fitted == "1")
    assert first.mae < first.persistence_mae
    assert first.crps < first.persistence_crps


def test_what_is_hidden_changes_no_forecast(tmp_path):
    head = "family,model,task,num_fewshot,params,tokens,acc,chance\n"
    rows = [
        f"mine,m{i},winogrande,5,{n:g},1e12,{acc},0.5\n" for i, (n, acc) in enumerate([(1e9, 0.6), (7e9, 0.7), (70e9, 0.8)])
    ]
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    one.write_text(head + "".join(rows), encoding="utf-8")
    other.write_text(head + "".join([*rows[:2], rows[2].replace("0.8", "0.55")]), encoding="utf-8")
    points = [[record.point for record in backtest_families(path).records] for path in (one, other)]
    np.testing.assert_array_equal(*points)


def test_scores_are_means_of_the_records():
    def record(runs: int, point: float, own: float | None) -> FamilyRecord:
        return FamilyRecord(
            family="f",
            task="t",
            runs_fitted=runs,
            model="m",
            flops=1e22,
            extrapolation=10.0,
            truth=0.5,
            point=point,
            persistence=0.3,
            crps=0.01,
            covered=(True, True),
            width=(0.1, 0.2),
            own_point=own,
            own_crps=None if own is None else 0.03,
            own_covered=None if own is None else (False, True),
        )

    scores = score_families([record(1, 0.6, None), record(1, 0.5, None), record(4, 0.52, 0.58)])
    assert [score.runs_fitted for score in scores] == ["1", "3+"]
    assert scores[0].mae == pytest.approx(0.05)
    assert scores[0].own_mae is None
    assert (scores[1].own_mae, scores[1].mae_beside_own) == (pytest.approx(0.08), pytest.approx(0.02))
    assert scores[1].own_coverage == (0.0, 1.0)


def test_unknown_names_and_lonely_families_are_told(tmp_path):
    with pytest.raises(UsageError, match="did you mean 'Llama'"):
        backtest_families(families="Lama")
    path = tmp_path / "t.csv"
    path.write_text("family,model,task,params,tokens,acc,chance\nf,a,quiz,1e9,1e11,0.3,0.25\nf,b,quiz,1e10,1e12,0.5,0.25\n")
    with pytest.raises(NotForecastableError, match="no reference was measured on quiz"):
        backtest_families(path)
