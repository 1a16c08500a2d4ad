"""A program's own questions about records see what queries see, and bind no metric."""

from __future__ import annotations

import subprocess
import sys

import pytest
from store_records import make_checkpoint, make_run, make_shard, make_task

from forecast.core.errors import StoreError
from forecast.core.records import RunStatus
from forecast.store import Store

RUNS = "SELECT model, task, status, metadata FROM runs ORDER BY model, task"


def test_it_answers_as_a_query_does_with_what_is_spooled(filled: Store) -> None:
    task, checkpoint = make_task(), make_checkpoint("waiting")
    run = make_run(checkpoint, task)
    filled.open_run(run, checkpoint, task)
    filled.append(make_shard(run, task, [0, 1]))
    filled.close_run(run.run_id, RunStatus.FAILED, None, "stopped")
    for sql in (RUNS, "SELECT run_id, count(*) AS n FROM item_scores GROUP BY run_id ORDER BY run_id"):
        queried = [row for part in filled.query(sql) for row in part.to_pylist()]
        assert filled.lookup(sql) == queried
    assert [row["status"] for row in filled.lookup(RUNS) if row["model"] == "waiting"] == ["failed"]


def test_a_metric_is_not_there_rather_than_taken_from_the_file_alone(filled: Store) -> None:
    with pytest.raises(StoreError, match="scores"):
        filled.lookup("FROM scores")


def test_without_a_file_it_says_so(store: Store) -> None:
    with pytest.raises(StoreError, match="no results file"):
        store.lookup(RUNS)


def test_an_empty_answer_imports_no_pandas(filled: Store) -> None:
    code = (
        "import sys; from pathlib import Path; from forecast.store import Store\n"
        f"[part] = Store(Path({str(filled.path)!r})).query('SELECT model, nll_per_char FROM scores WHERE false')\n"
        "assert (part.num_rows, part.schema.names) == (0, ['model', 'nll_per_char']) and 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
