"""Records for tests of the store, and a store filled with them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from forecast.core.records import RunStatus
from forecast.store import Store


def _load() -> ModuleType:
    """Load the builders of records that also the writer processes of the kill tests use."""
    path = Path(__file__).with_name("store_records.py")
    spec = importlib.util.spec_from_file_location("store_records", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["store_records"] = module
    spec.loader.exec_module(module)
    return module


_load()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results.duckdb", timeout_s=20.0)


@pytest.fixture
def filled(store: Store) -> Store:
    """Three models on a choice task, a LAMBADA-like one and a rolling text, everything committed."""
    from store_records import make_checkpoint, make_run, make_shard, make_task

    tasks = (
        make_task(),
        make_task("words", choices=1, output_type="loglikelihood"),
        make_task("text", choices=1, output_type="loglikelihood_rolling"),
    )
    for size in (6, 7, 8):
        checkpoint = make_checkpoint(f"toy-{size}", params=10**size)
        for task in tasks:
            run = make_run(checkpoint, task)
            store.open_run(run, checkpoint, task)
            store.append(make_shard(run, task))
            store.close_run(run.run_id, RunStatus.COMPLETE, None)
    store.commit()
    return store
