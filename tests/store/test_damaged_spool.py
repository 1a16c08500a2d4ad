"""Spooled files that cannot be read: nothing hides them, and they keep nothing else away."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from store_records import make_checkpoint, make_run, make_shard, make_task

from forecast.core.errors import StoreError
from forecast.store import Store


@pytest.fixture
def two_shards(store: Store) -> tuple[Store, list[Path]]:
    """A run whose items wait in two files; nothing is in the results file yet."""
    task, checkpoint = make_task(), make_checkpoint()
    run = make_run(checkpoint, task)
    store.open_run(run, checkpoint, task)
    for indices in (range(10), range(10, 20)):
        store.append(make_shard(run, task, indices))
    return store, sorted(store._spool.folder.glob("shard.*.parquet"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def spoil_inside(path: Path) -> None:
    """Damage the pages and leave the footer whole, so that only reading the values fails."""
    content = bytearray(path.read_bytes())
    content[8:-400] = b"\xff" * len(content[8:-400])
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [cut, spoil_inside])
def test_what_cannot_be_read_is_named_and_the_rest_is_there(
    damage: object, two_shards: tuple[Store, list[Path]], caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("forecast").setLevel(logging.WARNING)
    store, (broken, _) = two_shards
    assert store.problems() == []
    assert callable(damage)
    damage(broken)
    ((row,),) = [batch.to_pylist() for batch in store.query("SELECT count(*) AS n FROM item_scores")]
    assert row == {"n": 10}
    assert broken.name in caplog.text
    assert "are missing here" in caplog.text
    (problem,) = store.problems()
    assert problem.startswith(f"1 spooled files that cannot be read: {broken}")
    with pytest.raises(StoreError, match="set aside"):
        store.commit()
    assert store.info().item_scores == 10
    (problem,) = store.problems()
    assert problem.startswith("1 damaged files that were set aside")
    assert ".damaged" in problem


def test_a_file_damaged_where_only_its_values_lie(
    two_shards: tuple[Store, list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The quick look at a shard reads its item numbers alone."""
    import pyarrow.parquet as pq

    store, (broken, _) = two_shards
    column = pq.read_metadata(broken).row_group(0).column(2)
    content = bytearray(broken.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    content[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    broken.write_bytes(bytes(content))
    (problem,) = store.problems()
    assert str(broken) in problem
    with pytest.raises(StoreError, match="set aside"):
        store.commit()
    assert store.info().item_scores == 10


def test_results_of_a_run_that_nobody_registered_are_named(two_shards: tuple[Store, list[Path]]) -> None:
    store, shards = two_shards
    stranger = shards[0].with_name("shard.stranger.00000000000000000001-00000000.parquet")
    stranger.write_bytes(shards[0].read_bytes())
    (problem,) = store.problems()
    assert problem == f"1 spooled files that belong to no registered run: {stranger}"
