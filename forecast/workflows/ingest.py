"""Taking other people's results in: lm-eval files, observation tables, and this program's own exports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from forecast.core.errors import InputError, UsageError
from forecast.core.observation_rows import ObservationRow
from forecast.core.progress import Progress
from forecast.core.records import CheckpointRequest
from forecast.importers.lmeval_results import looks_like_results, read_results
from forecast.importers.observation_columns import TOKENS_EXPECTED, are_tokens
from forecast.importers.tables import is_table
from forecast.workflows.ingest_lmeval import ImportedRun, read_evaluation

if TYPE_CHECKING:
    from forecast.store import Store


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """What an import brought."""

    files: int
    runs: int
    """Checkpoints x tasks with items."""
    items: int
    observations: int
    """Rows without items."""
    disagreements: tuple[str, ...]
    """Where a file's aggregates are not what its own samples give."""
    exports: int
    """Folders that this program exported."""
    items_merged: int
    """Item results that were new in them."""


@dataclass(frozen=True, kw_only=True)
class _Content:
    """What one file holds, read and checked, nothing stored yet."""

    path: Path
    runs: tuple[ImportedRun, ...] = ()
    observations: tuple[ObservationRow, ...] = ()
    disagreements: tuple[str, ...] = ()


def import_paths(
    paths: Sequence[Path], *, db: Path, described: CheckpointRequest | None = None, progress: Progress
) -> ImportReport:
    """Import files and folders; all of them are read and checked before the first is stored.

    `described` holds what the user knows better than the files (family, model, step, parameters, tokens, FLOPs); it is
    for files of one checkpoint. Importing the same again changes nothing.

    Raises:
        InputError: a file is missing, malformed or out of range; nothing has been stored.
        StoreError: the results file cannot be written.
    """
    from forecast.store import Store
    from forecast.store.validation import check_shard, check_task
    from forecast.workflows.export import is_export, merge_export

    store = Store(db)
    exports = [path for path in paths if is_export(path)]
    files = _collect([path for path in paths if path not in exports], progress)
    contents = []
    with progress.stage("read", len(files), "files") as stage:
        for path in files:
            contents.append(_read(path, described, progress))
            stage.advance()
    for content in contents:
        for entry in content.runs:
            check_task(entry.task)
            check_shard(entry.shard)
    _refuse_contradictions(store, contents)
    items_merged = sum(merge_export(folder, db) for folder in exports)
    items = 0
    with progress.stage("store", len(contents), "files") as stage:
        for content in contents:
            items += _store(store, content)
            stage.advance()
        if contents:
            store.create()
            store.commit()
    disagreements = tuple(sentence for content in contents for sentence in content.disagreements)
    for sentence in disagreements:
        progress.notice(sentence)
    return ImportReport(
        files=len(files),
        runs=sum(len(content.runs) for content in contents),
        items=items,
        observations=sum(len(content.observations) for content in contents),
        disagreements=disagreements,
        exports=len(exports),
        items_merged=items_merged,
    )


def _collect(paths: Sequence[Path], progress: Progress) -> list[Path]:
    """Return the files to read: those named, and in folders everything that looks like an lm-eval results file."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = [file for file in sorted(path.rglob("*.json")) if looks_like_results(file)]
            others = sum(1 for _ in path.rglob("*.json")) - len(found)
            if not found:
                raise InputError(
                    f"{path} holds no lm-eval results ({others} other JSON files)",
                    expected="results_*.json, or name the CSV or Parquet tables themselves",
                )
            if others:
                progress.notice(f"{path}: {others} JSON files are no lm-eval results and are left out")
            files += found
        elif path.name.startswith("samples_") and path.name.endswith((".jsonl", ".jsonl.gz")):
            files.append(_results_of(path))
        elif path.is_file() or is_table(path):
            files.append(path)
        else:
            raise InputError(f"no file or folder {path}", expected="lm-eval results, or a CSV or Parquet table")
    return list(dict.fromkeys(files))


def _results_of(samples: Path) -> Path:
    """The results file that was written together with a samples file: they share the date."""
    date = samples.name.removesuffix(".gz").removesuffix(".jsonl").rsplit("_", 1)[-1]
    beside = samples.parent / f"results_{date}.json"
    if not beside.is_file():
        raise InputError(f"{samples} has no {beside.name} beside it", expected="the results file that says which model it was")
    return beside


def _read(path: Path, described: CheckpointRequest | None, progress: Progress) -> _Content:
    if is_table(path):
        from forecast.importers.observations import read_observations

        return _Content(path=path, observations=tuple(read_observations(path, notice=progress.notice)))
    if path.suffix != ".json":
        raise InputError(f"{path} is of an unknown kind", expected="results_*.json, samples_*.jsonl, .csv, .csv.gz or .parquet")
    evaluation = read_evaluation(read_results(path), described, progress.notice)
    return _Content(
        path=path, runs=evaluation.runs, observations=evaluation.observations, disagreements=evaluation.disagreements
    )


def _refuse_contradictions(store: Store, contents: Sequence[_Content]) -> None:
    """One checkpoint cannot have answered one task in two ways: then a file speaks of another checkpoint than it says."""
    seen: dict[tuple[str, str, str, str], tuple[str, Path]] = {}
    if store.path.is_file():
        query = "SELECT checkpoint_id, task_id, dtype, backend, run_id FROM runs WHERE backend LIKE 'lm-eval:%' ORDER BY run_id"
        for batch in store.query(query):
            for row in batch.to_pylist():
                key = (row["checkpoint_id"], row["task_id"], row["dtype"], row["backend"])
                seen[key] = (row["run_id"], store.path)
    for content in contents:
        for entry in content.runs:
            run = entry.run
            key = (run.checkpoint_id, run.task_id, run.dtype, run.backend)
            other = seen.setdefault(key, (run.run_id, content.path))
            if other[0] != run.run_id:
                raise InputError(
                    f"{content.path}: {entry.checkpoint.model} has other results on {entry.task.task} than {other[1]}",
                    expected="one result per checkpoint and task",
                    remedy="if it is another checkpoint, say which with --model and --step; nothing was imported",
                )


def _store(store: Store, content: _Content) -> int:
    from forecast.core.records import RunStatus

    items = 0
    for entry in content.runs:
        durable = store.open_run(entry.run, entry.checkpoint, entry.task)
        if len(durable) < len(entry.task.items):
            store.append(entry.shard)
            store.close_run(entry.run.run_id, RunStatus.COMPLETE, None)
        items += len(entry.task.items)
    if content.observations:
        store.add_observations(content.observations, commit=False)
    return items


def describe(
    *,
    family: str | None = None,
    model: str | None = None,
    step: int | None = None,
    params: int | None = None,
    tokens: int | None = None,
    flops: float | None = None,
) -> CheckpointRequest | None:
    """Return what the user says of the checkpoint, None when nothing.

    Raises:
        UsageError: a number below zero, or tokens in another unit.
    """
    numbers = {"step": step, "params": params, "tokens": tokens, "flops": flops}
    for name, value in numbers.items():
        if value is not None and value < 0:
            raise UsageError(f"--{name} is {value}", expected="at least 0")
    if tokens is not None and not are_tokens(tokens, step):
        raise UsageError(f"--tokens is {tokens}", expected=TOKENS_EXPECTED)
    if family is None and model is None and all(value is None for value in numbers.values()):
        return None
    return CheckpointRequest(
        source="", family=family or "", model=model or "", step=step, params=params, tokens=tokens, flops=flops
    )
