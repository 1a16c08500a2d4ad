"""Joining results files: nothing is left behind, not even by a merge that was killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from forecast.api.database import merge_stores
from forecast.core.errors import StoreError, UsageError
from forecast.core.observation_rows import ObservationRow
from forecast.store import Store


def make_store(path: Path, model: str) -> Path:
    store = Store(path)
    store.create()
    store.add_observations([ObservationRow(family="f", model=model, task="t", metrics={"acc": 0.5, "brier": 0.7})], source="s")
    return path


def test_a_merge_takes_everything_and_leaves_nothing(tmp_path: Path) -> None:
    one, two, target = (
        make_store(tmp_path / "one.duckdb", "a"),
        make_store(tmp_path / "two.duckdb", "b"),
        tmp_path / "all.duckdb",
    )
    merge_stores(target, [one, two])
    merge_stores(target, [one, two])
    rows = [
        row
        for batch in Store(target).query("SELECT model, brier FROM observations ORDER BY model")
        for row in batch.to_pylist()
    ]
    assert rows == [{"model": "a", "brier": 0.7}, {"model": "b", "brier": 0.7}]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.duckdb", "one.duckdb", "two.duckdb"]


def test_a_missing_source_is_found_before_anything_is_merged(tmp_path: Path) -> None:
    one = make_store(tmp_path / "one.duckdb", "a")
    with pytest.raises(StoreError, match="no results file"):
        merge_stores(tmp_path / "all.duckdb", [one, tmp_path / "missing.duckdb"])
    assert not (tmp_path / "all.duckdb").exists()
    (tmp_path / "link.duckdb").symlink_to(one)
    with pytest.raises(UsageError, match="the target itself"):
        merge_stores(one, [tmp_path / "link.duckdb"])


HANGING = """
import sys, time
from pathlib import Path
from forecast.store import Store
from forecast.api.database import merge_stores
def hang(self, folder):
    print(folder, flush=True)
    time.sleep(600)
Store.merge = hang
merge_stores(Path(sys.argv[1]), [Path(sys.argv[2])])
"""


def test_what_a_killed_merge_left_is_cleared_away_and_a_living_ones_is_not(tmp_path: Path) -> None:
    one, target = make_store(tmp_path / "one.duckdb", "a"), tmp_path / "all.duckdb"
    with subprocess.Popen([sys.executable, "-c", HANGING, target, one], stdout=subprocess.PIPE, text=True) as merging:
        assert merging.stdout is not None
        folder = Path(merging.stdout.readline().strip())
        assert list(folder.iterdir()) != []
        merge_stores(target, [one])
        assert folder.is_dir()
        merging.kill()
    merge_stores(target, [one])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.duckdb", "one.duckdb"]
