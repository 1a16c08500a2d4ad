"""What single models answered to single items, for comparisons between them."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from forecast.core.model_items import ModelItems, StoredRun
from forecast.store.item_matrices import ITEM_COLUMNS, filled
from forecast.store.locking import rows_of


def read_runs(connection: duckdb.DuckDBPyConnection) -> list[StoredRun]:
    """Return every complete run; those of texts without items to get right are among them."""
    connection.execute(
        """SELECT r.run_id, r.task_id, r.family, r.model, r.revision, r.step, coalesce(c.is_final, true) AS is_final, r.task,
            r.num_fewshot, r.dtype
        FROM runs AS r LEFT JOIN checkpoints AS c USING (checkpoint_id)
        WHERE r.status = 'complete' ORDER BY r.task, r.num_fewshot, r.model, r.step NULLS LAST, r.revision, r.dtype, r.run_id"""
    )
    return [StoredRun(**row) for row in rows_of(connection)]


def read_model_items(connection: duckdb.DuckDBPyConnection, runs: Sequence[StoredRun]) -> list[ModelItems]:
    """Return the items of some runs, in the order of the runs."""
    columns = ", ".join(f"m.{column}::DOUBLE AS {metric}" for metric, column in ITEM_COLUMNS.items())
    found = []
    for run in runs:
        cells = connection.execute(
            f"""SELECT m.item_idx, i.item_group, md5(concat_ws(chr(0), i.prompt_hash, i.gold, i.golds, i.choices)) AS key,
                {columns}
            FROM item_metrics AS m
            JOIN items AS i ON i.task_id = $task AND i.item_idx = m.item_idx
            WHERE m.run_id = $run ORDER BY m.item_idx""",
            {"task": run.task_id, "run": run.run_id},
        ).fetchnumpy()
        found.append(
            ModelItems(
                run=run,
                key=tuple(map(str, cells["key"])),
                group=tuple(map(str, cells["item_group"])),
                item_idx=tuple(map(int, cells["item_idx"])),
                values={metric: filled(cells[metric]) for metric in ITEM_COLUMNS},
            )
        )
    return found
