"""Small records for tests: a made-up task and scored shards, cheap to build and without torch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from forecast.core.hashing import content_hash
from forecast.core.records import (
    CheckpointRecord,
    GeneratedAnswer,
    ItemRecord,
    Metadata,
    RunRecord,
    ScoredShard,
    TaskRecord,
)


def make_task(
    name: str = "toy", *, items: int = 20, choices: int = 4, shots: int = 0, output_type: str = "multiple_choice"
) -> TaskRecord:
    rng = np.random.default_rng(len(name) + items + choices)
    records = []
    for index in range(items):
        texts = tuple(f"choice {'x' * int(rng.integers(1, 9))} {letter} é" for letter in "abcdefgh"[:choices])
        prompt = f"{name} question {index}"
        records.append(
            ItemRecord(
                item_idx=index,
                prompt=prompt,
                choices=texts,
                gold=int(rng.integers(choices)),
                prompt_hash=content_hash(prompt),
                n_chars=tuple(len(text) for text in texts),
                n_bytes=tuple(len(text.encode()) for text in texts),
                group="even" if index % 2 == 0 else "odd",
            )
        )
    return TaskRecord(
        task_id=content_hash([name, items, choices, shots, output_type]),
        task=name,
        num_fewshot=shots,
        fewshot_seed=1234 if shots else None,
        output_type=output_type,
        definition_hash=content_hash([name, output_type]),
        version="1",
        items=tuple(records),
    )


def make_checkpoint(
    model: str = "toy-1m", *, family: str = "toy", params: int = 1_000_000, tokens: int = 20_000_000, step: int | None = None
) -> CheckpointRecord:
    return CheckpointRecord(
        checkpoint_id=content_hash([family, model, step]),
        family=family,
        model=model,
        step=step,
        params=params,
        params_non_embedding=params // 2,
        tokens=tokens,
        flops=6.0 * params * tokens,
        flops_convention="6nd-total",
        metadata={"seed": 1},
    )


def make_run(
    checkpoint: CheckpointRecord, task: TaskRecord, *, dtype: str = "float32", metadata: Metadata | None = None
) -> RunRecord:
    told = dict(metadata or {})
    return RunRecord(
        run_id=content_hash([checkpoint.checkpoint_id, task.task_id, dtype, *([told] if told else [])]),
        checkpoint_id=checkpoint.checkpoint_id,
        task_id=task.task_id,
        dtype=dtype,
        device="cpu",
        backend="native",
        scoring_version="1",
        started_at="2026-01-01T00:00:00+00:00",
        metadata=told,
    )


def make_shard(run: RunRecord, task: TaskRecord, indices: range | list[int] | None = None) -> ScoredShard:
    """Results that depend on nothing but run and item, so that any order of work gives the same numbers."""
    wanted = list(range(len(task.items)) if indices is None else indices)
    values, tokens, greedy = [], [], []
    for index in wanted:
        rng = np.random.default_rng([int(run.run_id[:8], 16), index])
        choices = len(task.items[index].choices)
        values.append(tuple(float(value) for value in -10.0 * rng.random(choices)))
        tokens.append(tuple(int(count) for count in rng.integers(1, 6, choices)))
        greedy.append(tuple(bool(flag) for flag in rng.random(choices) < 0.5))
    return ScoredShard(
        run_id=run.run_id, item_idx=tuple(wanted), loglikelihoods=tuple(values), n_tokens=tuple(tokens), is_greedy=tuple(greedy)
    )


def make_answered(
    run: RunRecord, task: TaskRecord, indices: range | list[int] | None = None, *, samples: int = 1
) -> ScoredShard:
    """Results of a generated task: the gold answer's loglikelihood token by token, and answers of few different texts."""
    shard = make_shard(run, task, indices)
    by_token, answers = [], []
    for index, values, counts in zip(shard.item_idx, shard.loglikelihoods, shard.n_tokens, strict=True):
        rng = np.random.default_rng([int(run.run_id[8:16], 16), index])
        parts = -rng.random(counts[0]) if values else np.zeros(0)
        by_token.append(tuple(float(np.float32(value)) for value in parts * values[0] / parts.sum()) if len(parts) > 1 else ())
        answers.append(tuple(make_answer(number, str(int(rng.integers(4))), rng) for number in range(samples)))
    return replace(shard, gold_token_loglikelihoods=tuple(by_token), generations=tuple(answers))


def make_answer(number: int, word: str, rng: np.random.Generator) -> GeneratedAnswer:
    right = word == "0"
    return GeneratedAnswer(
        sample_idx=number,
        text=f"Let us see é: the answer is {word}.",
        n_tokens=int(rng.integers(1, 30)),
        stopped=bool(rng.random() < 0.8),
        extracted={"strict": word, "flexible": word, "none": f"Let us see é: the answer is {word}."},
        values={"exact_match,strict": float(right), "bleu,none": float(rng.random())},
        correct=right,
    )
