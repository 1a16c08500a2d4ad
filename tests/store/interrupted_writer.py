"""A process that evaluates (with made-up numbers) and is killed again and again; run by the tests, never imported by them.

`interrupted_writer.py kill FOLDER KILLS SEED`: fork a writer, kill it at a random moment, let the next one continue; whenever
one finishes, compare everything with an uninterrupted writer's store and begin anew, until KILLS have hit.
`interrupted_writer.py write DB SEED`: write once, shards in random order, beside whoever else does the same.
`interrupted_writer.py read DB SECONDS`: query until the time is over, and see that results only ever grow.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

from store_records import make_answered, make_checkpoint, make_run, make_shard, make_task

from forecast.core.records import RunStatus
from forecast.store import Store

SHARD = 20
TABLES = (
    "checkpoints",
    "tasks",
    "items",
    "item_scores",
    "item_tokens",
    "item_metrics",
    "generations",
    "generation_extracts",
    "generation_metrics",
    "scores",
    "observations",
)


def work(store: Store, acknowledged: Path, seed: int) -> None:
    """Score two models on two tasks; an acknowledged item must never be asked for again."""
    rng = random.Random(seed)
    before = set(acknowledged.read_text().split()) if acknowledged.exists() else set()
    log = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for model in ("small", "large"):
        checkpoint = make_checkpoint(model)
        written = make_task("three", items=40, choices=1, output_type="generate_until")
        for task in (make_task("one", items=40), make_task("two", items=20, choices=2), written):
            run = make_run(checkpoint, task)
            durable = store.open_run(run, checkpoint, task)
            lost = {name for name in before if name.startswith(run.run_id)} - {f"{run.run_id}/{item}" for item in durable}
            if lost:
                raise SystemExit(f"acknowledged items were lost: {sorted(lost)[:3]}")
            missing = [index for index in range(len(task.items)) if index not in durable]
            rng.shuffle(missing)
            for first in range(0, len(missing), SHARD):
                items = sorted(missing[first : first + SHARD])
                store.append(make_answered(run, task, items, samples=3) if task is written else make_shard(run, task, items))
                os.write(log, "".join(f"{run.run_id}/{item}\n" for item in items).encode())
                if rng.random() < 0.5:
                    store.commit()
            store.close_run(run.run_id, RunStatus.COMPLETE, None)
    store.commit()


def contents(store: Store) -> dict[str, list[str]]:
    """Everything that was measured, and everything derived from it, to the last bit."""
    return {table: sorted(repr(row) for batch in store.query(f"FROM {table}") for row in batch.to_pylist()) for table in TABLES}


def kill_often(folder: Path, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    reference = Store(folder / "whole.duckdb")
    started = time.monotonic()
    run_child(lambda: work(reference, folder / "whole.log", 0))
    duration = time.monotonic() - started
    wanted = in_child(lambda: contents(reference))
    hits = finished = 0
    while hits < kills:
        store, log = Store(folder / "killed.duckdb"), folder / "killed.log"
        while True:
            child = fork(lambda store=store, log=log: work(store, log, rng.randrange(10**6)))
            time.sleep(rng.uniform(0.0, 0.8 * duration))
            if hits < kills:
                os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            if os.WIFSIGNALED(status):
                hits += 1
                continue
            if os.waitstatus_to_exitcode(status) != 0:
                raise SystemExit("a writer failed")
            break
        finished += 1
        if in_child(lambda store=store: contents(store)) != wanted:
            raise SystemExit("the final tables differ from an uninterrupted run's")
        for path in folder.glob("killed.*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    print(f"{hits} kills, {finished} stores finished, all equal")


def fork(action) -> int:
    child = os.fork()
    if child == 0:
        try:
            action()
        except BaseException as error:  # noqa: BLE001 a forked child must never return into the test's own code
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            os._exit(1)
        os._exit(0)
    return child


def run_child(action) -> None:
    """DuckDB's threads do not survive a fork: the process that forks must never have opened a database itself."""
    _, status = os.waitpid(fork(action), 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit("a writer failed")


def in_child(question):
    import pickle

    source, sink = os.pipe()

    def answer() -> None:
        with os.fdopen(sink, "wb") as stream:
            pickle.dump(question(), stream)

    child = fork(answer)
    os.close(sink)
    with os.fdopen(source, "rb") as stream:
        found = pickle.load(stream)
    os.waitpid(child, 0)
    return found


def read_on(store: Store, seconds: float) -> None:
    deadline, seen, rounds = time.monotonic() + seconds, 0, 0
    while time.monotonic() < deadline:
        if not store.path.exists():
            continue
        rows = [
            row
            for batch in store.query("SELECT count(*) AS n, count(DISTINCT (run_id, item_idx)) AS d FROM item_scores")
            for row in batch.to_pylist()
        ]
        if rows[0]["n"] < seen or rows[0]["n"] != rows[0]["d"]:
            raise SystemExit(f"a reader saw {rows[0]} after {seen}")
        seen, rounds = rows[0]["n"], rounds + 1
    print(f"{rounds} reads, {seen} items")


if __name__ == "__main__":
    command, path = sys.argv[1], Path(sys.argv[2])
    if command == "kill":
        kill_often(path, int(sys.argv[3]), int(sys.argv[4]))
    elif command == "write":
        work(Store(path), path.with_name(f"{sys.argv[3]}.log"), int(sys.argv[3]))
    else:
        read_on(Store(path), float(sys.argv[3]))
