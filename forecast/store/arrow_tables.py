"""Records as Arrow tables: the form in which they are spooled and taken into DuckDB, with no loss of precision."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

import pyarrow as pa

from forecast.core.hashing import content_hash
from forecast.core.observation_rows import ObservationRow
from forecast.core.observation_tables import CONTENT_COLUMNS, metadata_text, observation_content, observation_hash
from forecast.core.records import (
    CheckpointRecord,
    GeneratedAnswer,
    ItemRecord,
    RunCounters,
    RunRecord,
    RunStatus,
    ScoredShard,
    TaskRecord,
)

_I32, _I64, _F64, _TEXT, _FLAG = pa.int32(), pa.int64(), pa.float64(), pa.string(), pa.bool_()

SHARD_SCHEMA = pa.schema(
    [
        ("run_id", pa.dictionary(_I32, _TEXT)),
        ("item_idx", _I32),
        ("loglikelihoods", pa.list_(_F64)),
        ("n_tokens", pa.list_(_I32)),
        ("is_greedy", pa.list_(_FLAG)),
        ("gold_token_loglikelihoods", pa.list_(pa.float32())),
    ]
)

ANSWER_TYPE = pa.struct(
    [
        ("sample_idx", _I32),
        ("text", _TEXT),
        ("n_tokens", _I32),
        ("stopped", _FLAG),
        ("correct", _FLAG),
        ("filters", pa.list_(_TEXT)),
        ("extracted", pa.list_(_TEXT)),
        ("metric_values", pa.map_(_TEXT, _F64)),
    ]
)

ANSWERED_SHARD_SCHEMA = SHARD_SCHEMA.append(pa.field("generations", pa.list_(ANSWER_TYPE)))
"""Results of runs whose model wrote answers."""

CHECKPOINT_SCHEMA = pa.schema(
    [
        ("checkpoint_id", _TEXT),
        ("registered_at", _I64),
        ("facts_hash", _TEXT),
        ("family", _TEXT),
        ("model", _TEXT),
        ("revision", _TEXT),
        ("revision_sha", _TEXT),
        ("source", _TEXT),
        ("step", _I64),
        ("params", _I64),
        ("params_non_embedding", _I64),
        ("tokens", _I64),
        ("flops", _F64),
        ("flops_convention", _TEXT),
        ("architecture", _TEXT),
        ("tokenizer_hash", _TEXT),
        ("is_final", _FLAG),
        ("metadata", _TEXT),
    ]
)

ITEM_TYPE = pa.struct(
    [
        ("item_idx", _I32),
        ("gold", _I32),
        ("golds", pa.list_(_I32)),
        ("prompt", _TEXT),
        ("prompt_hash", _TEXT),
        ("choices", pa.list_(_TEXT)),
        ("n_chars", pa.list_(_I32)),
        ("n_bytes", pa.list_(_I32)),
        ("item_group", _TEXT),
    ]
)

TASK_SCHEMA = pa.schema(
    [
        ("task_id", _TEXT),
        ("task", _TEXT),
        ("num_fewshot", _I32),
        ("fewshot_seed", _I64),
        ("output_type", _TEXT),
        ("definition_hash", _TEXT),
        ("version", _TEXT),
        ("item_limit", _I32),
        ("n_items", _I32),
        ("metadata", _TEXT),
        ("items", pa.list_(ITEM_TYPE)),
    ]
)

RUN_SCHEMA = pa.schema(
    [
        (name, _TEXT)
        for name in (
            "run_id",
            "checkpoint_id",
            "task_id",
            "dtype",
            "device",
            "backend",
            "scoring_version",
            "started_at",
            "metadata",
        )
    ]
)

_COUNTERS = [
    ("tokens_requested", _I64),
    ("tokens_unique", _I64),
    ("tokens_computed", _I64),
    ("tokens_padded", _I64),
    ("tokens_truncated", _I64),
    ("seconds", _F64),
    ("flops_done", _F64),
    ("flops_bound", _F64),
]

CLOSING_SCHEMA = pa.schema(
    [("closing_id", _TEXT), ("run_id", _TEXT), ("closed_at", _I64), ("status", _TEXT), ("error", _TEXT), *_COUNTERS]
)

OBSERVATION_SCHEMA = pa.schema([("observation_id", _TEXT), ("batch", _I64), *CONTENT_COLUMNS])


def checkpoint_table(record: CheckpointRecord, *, registered_at: int) -> pa.Table:
    """Return one row that states what is known of a checkpoint now."""
    facts = {**asdict(record), "metadata": metadata_text(record.metadata)}
    facts["flops"] = None if record.flops is None else float(record.flops)
    row = {**facts, "registered_at": registered_at, "facts_hash": content_hash(facts)}
    return pa.Table.from_pylist([row], schema=CHECKPOINT_SCHEMA)


def task_table(record: TaskRecord) -> pa.Table:
    """Return one row that holds a task with all its items."""
    row = {
        "task_id": record.task_id,
        "task": record.task,
        "num_fewshot": record.num_fewshot,
        "fewshot_seed": record.fewshot_seed,
        "output_type": record.output_type,
        "definition_hash": record.definition_hash,
        "version": record.version,
        "item_limit": record.limit,
        "n_items": len(record.items),
        "metadata": metadata_text(record.metadata),
        "items": [_item(item) for item in record.items],
    }
    return pa.Table.from_pylist([row], schema=TASK_SCHEMA)


def _item(item: ItemRecord) -> dict[str, object]:
    return {
        "item_idx": item.item_idx,
        "gold": item.gold,
        "golds": sorted(item.golds),
        "prompt": item.prompt,
        "prompt_hash": item.prompt_hash,
        "choices": item.choices,
        "n_chars": item.n_chars,
        "n_bytes": item.n_bytes,
        "item_group": item.group,
    }


def run_table(record: RunRecord) -> pa.Table:
    """Return one row for a run."""
    return pa.Table.from_pylist([{**asdict(record), "metadata": metadata_text(record.metadata)}], schema=RUN_SCHEMA)


def closing_table(
    run_id: str, status: RunStatus, counters: RunCounters | None, error: str, *, closed_at: int, closing_id: str
) -> pa.Table:
    """Return one row for the end of a session on a run."""
    row = {"closing_id": closing_id, "run_id": run_id, "closed_at": closed_at, "status": status.value, "error": error}
    return pa.Table.from_pylist([row | (asdict(counters) if counters else {})], schema=CLOSING_SCHEMA)


def shard_table(shard: ScoredShard) -> pa.Table:
    """Return a checked shard as a table, one row per item."""
    rows = len(shard.item_idx)
    run_ids = pa.DictionaryArray.from_arrays(pa.array([0] * rows, _I32), pa.array([shard.run_id]))
    by_token = [values or None for values in shard.gold_token_loglikelihoods] or [None] * rows
    columns = [
        run_ids,
        pa.array(shard.item_idx, _I32),
        pa.array(shard.loglikelihoods, pa.list_(_F64)),
        pa.array(shard.n_tokens, pa.list_(_I32)),
        pa.array(shard.is_greedy, pa.list_(_FLAG)),
        pa.array(by_token, pa.list_(pa.float32())),
    ]
    if not shard.generations:
        return pa.Table.from_arrays(columns, schema=SHARD_SCHEMA)
    answers = [[_answer(answer) for answer in answers] for answers in shard.generations]
    return pa.Table.from_arrays([*columns, pa.array(answers, pa.list_(ANSWER_TYPE))], schema=ANSWERED_SHARD_SCHEMA)


def _answer(answer: GeneratedAnswer) -> dict[str, object]:
    return {
        "sample_idx": answer.sample_idx,
        "text": _storable(answer.text),
        "n_tokens": answer.n_tokens,
        "stopped": answer.stopped,
        "correct": answer.correct,
        "filters": list(answer.extracted),
        "extracted": [_storable(text) for text in answer.extracted.values()],
        "metric_values": list(answer.values.items()),
    }


def _storable(text: str) -> str:
    """Halves of UTF-16 pairs, which some JSON files hold, are joined; one without its other half becomes a replacement mark."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def observation_table(rows: Iterable[ObservationRow], *, source: str, batch: int) -> pa.Table:
    """Return observations as a table; a row's identity is its content and source."""
    return pa.Table.from_pylist([_observation(row, source, batch) for row in rows], schema=OBSERVATION_SCHEMA)


def _observation(row: ObservationRow, source: str, batch: int) -> dict[str, object]:
    content = observation_content(row, source)
    return {**content, "observation_id": observation_hash(content), "batch": batch}
