"""Speed of the store, run by hand: `python tests/speed/bench_store.py [--items 25000000] [--folder DIR]`.

Two numbers, both as ratios or rates within one run: taking in 1 M spooled item rows against a bare COPY of the same rows
from Parquet into an empty DuckDB table, and the view `scores` over 1e8 generated choice rows. CPU time (of all threads), the
machine's load before the run and peak memory are printed too: where others compute beside it, only CPU times mean anything.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from forecast.core.hashing import content_hash
from forecast.core.records import CheckpointRecord, ItemRecord, RunRecord, TaskRecord
from forecast.store import Store
from forecast.store.arrow_tables import SHARD_SCHEMA
from forecast.store.locking import quote

CHOICES = 4


class Clock:
    """Wall and CPU seconds since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        return time.perf_counter() - self._wall, time.process_time() - self._cpu


def make_task(items: int) -> TaskRecord:
    records = tuple(
        ItemRecord(
            item_idx=index,
            prompt=f"question {index}",
            choices=tuple(f"answer {letter * (1 + (index + place) % 7)}" for place, letter in enumerate("abcd")),
            gold=index % CHOICES,
            prompt_hash=f"{index:032d}",
            n_chars=tuple(8 + (index + place) % 7 for place in range(CHOICES)),
            n_bytes=tuple(8 + (index + place) % 7 for place in range(CHOICES)),
        )
        for index in range(items)
    )
    return TaskRecord(
        task_id=content_hash(["bench", items]),
        task=f"bench-{items}",
        num_fewshot=0,
        fewshot_seed=None,
        output_type="multiple_choice",
        definition_hash=content_hash("bench"),
        items=records,
    )


def make_records(number: int, task: TaskRecord) -> tuple[CheckpointRecord, RunRecord]:
    checkpoint = CheckpointRecord(
        checkpoint_id=content_hash(number), family="bench", model=f"m{number}", params=10**6 + number, tokens=10**9, flops=6e15
    )
    run = RunRecord(
        run_id=content_hash([number, task.task_id]),
        checkpoint_id=checkpoint.checkpoint_id,
        task_id=task.task_id,
        dtype="float32",
        device="cpu",
        backend="native",
        scoring_version="1",
    )
    return checkpoint, run


def shard_table(run_id: str, first: int, rows: int, rng: np.random.Generator) -> pa.Table:
    offsets = pa.array(np.arange(0, rows * CHOICES + 1, CHOICES, dtype=np.int32))
    return pa.Table.from_arrays(
        [
            pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([run_id])),
            pa.array(np.arange(first, first + rows, dtype=np.int32)),
            pa.ListArray.from_arrays(offsets, pa.array(-50.0 * rng.random(rows * CHOICES))),
            pa.ListArray.from_arrays(offsets, pa.array(rng.integers(1, 9, rows * CHOICES, dtype=np.int32))),
            pa.ListArray.from_arrays(offsets, pa.array(rng.random(rows * CHOICES) < 0.2)),
        ],
        schema=SHARD_SCHEMA,
    )


def bench_ingest(folder: Path, rows: int, shard_rows: int = 4000) -> None:
    store, task, rng = Store(folder / "ingest.duckdb"), make_task(10_000), np.random.default_rng(0)
    for number in range(rows // len(task.items)):
        checkpoint, run = make_records(number, task)
        store.open_run(run, checkpoint, task)
        for first in range(0, len(task.items), shard_rows):
            table = shard_table(run.run_id, first, min(shard_rows, len(task.items) - first), rng)
            store._spool.write("shard", run.run_id, table)
    shards = [file.path for file in store._spool.files(["shard"])]
    whole = folder / "whole.parquet"
    pq.write_table(pa.concat_tables([pq.read_table(path, schema=SHARD_SCHEMA) for path in shards]), whole, compression="zstd")

    clock = Clock()
    count = store.commit()
    ours, ours_cpu = clock.read()

    clock = Clock()
    with duckdb.connect(str(folder / "bare.duckdb")) as connection:
        connection.execute(
            "CREATE TABLE t (run_id VARCHAR, item_idx INTEGER, loglikelihoods DOUBLE[], "
            "n_tokens INTEGER[], is_greedy BOOLEAN[])"
        )
        connection.execute(f"COPY t FROM {quote(str(whole))} (FORMAT parquet)")
    bare, bare_cpu = clock.read()
    size = (folder / "ingest.duckdb").stat().st_size / 2**20
    print(
        f"ingest of {count:,} item rows in {len(shards)} shards: {ours:.2f} s = {count / ours / 1e6:.2f} M rows/s, "
        f"{ours_cpu:.2f} s of CPU ({size:.0f} MiB)"
    )
    print(
        f"bare COPY of the same rows: {bare:.2f} s, {bare_cpu:.2f} s of CPU; "
        f"ratio {ours / bare:.2f}, of CPU {ours_cpu / bare_cpu:.2f} (at most 3)"
    )


def bench_scores(folder: Path, items: int) -> None:
    path, task = folder / "scores.duckdb", make_task(10_000)
    store = Store(path)
    runs = items // len(task.items)
    for number in range(runs):
        checkpoint, run = make_records(number, task)
        if number == 0:
            store.open_run(run, checkpoint, task)
            store.commit()
    # Generated inside DuckDB: spooling 25 M rows from Python would only measure this script.
    generate = f"""
        INSERT INTO checkpoint_records BY NAME
        SELECT c.* REPLACE ('c' || n AS checkpoint_id, 'm' || n AS model)
        FROM checkpoint_records AS c, range(1, {runs}) AS r(n);
        INSERT INTO run_records BY NAME
        SELECT k.* REPLACE (md5(n::VARCHAR) AS run_id, n + 1 AS run_key, 'c' || n AS checkpoint_id)
        FROM run_records AS k, range(1, {runs}) AS r(n);
        INSERT INTO item_results
        SELECT 1 + i // 10000, i % 10000, [-50 * random(), -50 * random(), -50 * random(), -50 * random()], [3, 4, 5, 6],
            [false, true, false, false], NULL
        FROM range({runs * 10_000}) AS r(i);
    """
    list(store.execute(generate))
    for question in ("SELECT * FROM scores", "SELECT task, avg(acc) FROM scores GROUP BY task"):
        clock = Clock()
        rows = sum(batch.num_rows for batch in store.query(question))
        taken, busy = clock.read()
        print(f"{question}: {items * CHOICES:.0e} choice rows, {rows} result rows, {taken:.2f} s ({busy:.2f} s of CPU)")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=25_000_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        bench_ingest(Path(name), options.rows)
        bench_scores(Path(name), options.items)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB (at most 2)")


if __name__ == "__main__":
    main()
