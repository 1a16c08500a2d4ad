"""Taking other people's results in: lm-eval files, observation tables, and this program's own exports."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from forecast.api.ingest_conflicts import Settled, refuse_other_answers, settle_aggregates
from forecast.core.errors import InputError, PartialResultError, UsageError
from forecast.core.progress import Progress
from forecast.core.records import CheckpointRequest
from forecast.core.scale import check_scale
from forecast.importers.input_files import FailedFile, find_files, say_unused_samples
from forecast.importers.lmeval_evaluations import ImportedEvaluation, ImportedRun, read_evaluation
from forecast.importers.lmeval_results import read_results
from forecast.importers.observation_columns import TOKENS_EXPECTED, are_tokens
from forecast.importers.tables import is_table

if TYPE_CHECKING:
    from forecast.importers.observations import ObservationTable
    from forecast.store.import_tables import TableChange
    from forecast.store.imports import Import, Imported


@dataclass(frozen=True, kw_only=True)
class TableReport:
    """What became of one table."""

    path: Path
    rows: int
    """Measurements in it, every one counted once."""
    added: int
    replaced: int
    """Rows that say something else than the same table said when it was imported before."""
    unchanged: int
    removed: int
    """Rows that the table no longer has."""
    same_as: str
    """Another table that was imported and holds exactly these rows; empty for none."""
    unmeasured: int
    """Rows left out because they hold no measurement."""
    repeated: int
    """Rows left out because they repeat another row exactly."""


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
    added: int
    """Of the rows without items, those that are new."""
    replaced: int
    """Those that say something else than the same file said when it was imported before."""
    unchanged: int
    """Those that are stored already."""
    removed: int
    """Stored rows that the same file no longer has: they do not count any more."""
    tables: tuple[TableReport, ...]
    left_out: tuple[str, ...]
    """One sentence for everything in the files and folders that was not imported."""
    failed: tuple[FailedFile, ...]
    """Files in folders that cannot be read."""

    def raise_if_partial(self) -> None:
        """Raise where files could not be read.

        Raises:
            PartialResultError: names them; the others are imported.
        """
        if self.failed:
            text = "; ".join(entry.reason for entry in self.failed)
            raise PartialResultError(f"{len(self.failed)} file(s) cannot be read, the others are imported: {text}")


@dataclass(frozen=True, kw_only=True)
class _Contents:
    """What the files hold, read and checked; tables wait in the import."""

    evaluations: tuple[tuple[Path, ImportedEvaluation], ...]
    tables: tuple[ObservationTable, ...]
    failed: tuple[FailedFile, ...]

    @property
    def runs(self) -> list[tuple[Path, ImportedRun]]:
        """All runs with the file they came from."""
        return [(path, entry) for path, evaluation in self.evaluations for entry in evaluation.runs]


class _Notes:
    """Says what is left out, and remembers it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.left_out: list[str] = []

    def leave_out(self, sentence: str) -> None:
        self.left_out.append(sentence)
        self._progress.notice(sentence)


def import_paths(
    paths: Sequence[Path], *, db: Path, described: CheckpointRequest | None = None, progress: Progress
) -> ImportReport:
    """Import files and folders; all of them are read and checked before anything is stored, and all is stored or nothing.

    `described` holds what the user knows better than the files (family, model, step, parameters, tokens, FLOPs); it is
    for files of one checkpoint. Importing the same again changes nothing. A file that was found in a folder and cannot be
    read is named in the report, and the others are imported; one that was named itself stops the import.

    Raises:
        InputError: a file is missing, malformed or out of range; nothing has been stored.
        UsageError: a table or an export is described.
        StoreError: the results file cannot be written.
    """
    from forecast.api.export import is_export
    from forecast.store import Store

    store = Store(db)
    notes = _Notes(progress)
    exports = [path for path in paths if is_export(path)]
    own = next((path for path in paths if path in exports or is_table(path)), None)
    if described is not None and own is not None:
        raise UsageError(
            f"{own} says itself what its checkpoints are",
            expected="`family=`, `model=`, `step=`, `params=`, `tokens=` and `flops=` with lm-eval results only",
            remedy="leave them out, or import it by itself",
        )
    if store.path.is_file():
        # A file of somebody else, or of a newer program, is refused before a long table is read.
        store.check_readable()
    with store.importing() as job:
        contents = _read_all([path for path in paths if path not in exports], job, described, notes, progress)
        refuse_other_answers(store, contents.runs)
        settled = settle_aggregates(store, [(path, entry.observations) for path, entry in contents.evaluations])
        for _, entry in contents.runs:
            job.add_run(entry.checkpoint, entry.task, entry.run, entry.shard)
        for folder in exports:
            job.add_export(folder)
        job.add_observations(settled.rows)
        job.withdraw(settled.withdrawn)
        # What an evaluation left to be taken in may be of the same sources.
        store.commit()
        with progress.stage("store", 1, "transaction") as stage:
            imported = job.commit()
            stage.advance()
    _say_what_changed(contents, settled, imported, progress)
    return _report(contents, settled, imported, len(exports), notes.left_out)


def _report(contents: _Contents, settled: Settled, imported: Imported, exports: int, left_out: Sequence[str]) -> ImportReport:
    evaluations = [evaluation for _, evaluation in contents.evaluations]
    changes = imported.tables
    return ImportReport(
        files=len(evaluations) + len(contents.tables),
        runs=sum(len(entry.runs) for entry in evaluations),
        items=sum(len(entry.task.items) for _, entry in contents.runs),
        observations=sum(len(entry.observations) for entry in evaluations) + sum(change.rows for change in changes),
        disagreements=tuple(sentence for entry in evaluations for sentence in entry.disagreements),
        exports=exports,
        items_merged=imported.items_merged,
        added=settled.added + sum(change.added for change in changes),
        replaced=settled.replaced + sum(change.replaced for change in changes),
        unchanged=settled.unchanged + sum(change.unchanged for change in changes),
        removed=settled.removed + sum(change.removed for change in changes),
        tables=tuple(
            TableReport(
                path=table.path,
                rows=change.rows,
                added=change.added,
                replaced=change.replaced,
                unchanged=change.unchanged,
                removed=change.removed,
                same_as=change.same_as,
                unmeasured=table.unmeasured,
                repeated=table.repeated,
            )
            for table, change in zip(contents.tables, changes, strict=True)
        ),
        left_out=tuple(left_out),
        failed=contents.failed,
    )


def _say_what_changed(contents: _Contents, settled: Settled, imported: Imported, progress: Progress) -> None:
    for _, evaluation in contents.evaluations:
        for sentence in evaluation.disagreements:
            progress.notice(sentence)
    for table, change in zip(contents.tables, imported.tables, strict=True):
        for sentence in _changes(table.path, change):
            progress.notice(sentence)
    if settled.replaced or settled.removed:
        progress.notice(
            f"lm-eval results were imported before and have changed: {settled.added} aggregates added,"
            f" {settled.replaced} replaced, {settled.unchanged} unchanged, {settled.removed} removed"
        )


def _changes(path: Path, change: TableChange) -> list[str]:
    """Return what a user must know of a table that was imported before, or that another one repeats."""
    sentences = []
    if change.same_as:
        sentences.append(f"{path}: its {change.rows} rows are stored already, from {change.same_as}; they count once")
        if change.removed:
            sentences.append(f"{path}: {change.removed} rows that it had when it was imported before are removed")
    elif change.replaced or change.removed or (change.added and change.unchanged):
        sentences.append(
            f"{path} was imported before and has changed: {change.added} rows added, {change.replaced} replaced,"
            f" {change.unchanged} unchanged, {change.removed} removed"
        )
    if change.left_by_name:
        sentences.append(
            f"{path}: {change.left_by_name} other rows of a table '{path.name}' are stored, by an earlier version that did"
            " not keep its folder; they stay, and are not mixed with these"
        )
    return sentences


def _read_all(
    paths: Sequence[Path], job: Import, described: CheckpointRequest | None, notes: _Notes, progress: Progress
) -> _Contents:
    from forecast.importers.observations import read_observation_table

    files = find_files(paths, notes.leave_out)
    evaluations: list[tuple[Path, ImportedEvaluation]] = []
    tables: list[ObservationTable] = []
    failed = list(files.failed)
    with progress.stage("read", len(files.named) + len(files.in_folders), "files") as stage:
        for path in files.named:
            if is_table(path):
                table = read_observation_table(path, notice=progress.notice, progress=progress)
                job.add_table(table.source, table.batches)
                tables.append(table.without_rows())
            else:
                evaluations.append((path, _read_results(path, described, notes, progress)))
            stage.advance()
        for path in files.in_folders:
            try:
                evaluations.append((path, _read_results(path, described, notes, progress)))
            except InputError as error:
                failed.append(FailedFile(path=path, reason=str(error)))
            stage.advance()
    say_unused_samples([(path, entry.tasks) for path, entry in evaluations], notes.leave_out)
    if failed and not evaluations and not tables:
        raise InputError(f"none of {len(failed)} files can be read: {failed[0].reason}")
    return _Contents(evaluations=tuple(evaluations), tables=tuple(tables), failed=tuple(failed))


def _read_results(path: Path, described: CheckpointRequest | None, notes: _Notes, progress: Progress) -> ImportedEvaluation:
    from forecast.store.validation import check_shard, check_task

    if path.suffix != ".json":
        raise InputError(f"{path} is of an unknown kind", expected="results_*.json, samples_*.jsonl, .csv, .csv.gz or .parquet")
    evaluation = read_evaluation(read_results(path), described, progress.notice, notes.leave_out)
    for entry in evaluation.runs:
        check_task(entry.task)
        check_shard(entry.shard)
    return evaluation


def describe(
    *,
    family: str | None = None,
    model: str | None = None,
    step: int | None = None,
    params: float | None = None,
    tokens: float | None = None,
    flops: float | None = None,
) -> CheckpointRequest | None:
    """Return what the user says of the checkpoint, None when nothing.

    Raises:
        UsageError: a number that is not finite, below zero or of another scale, or tokens in another unit.
    """
    numbers = {"step": step, "params": params, "tokens": tokens, "flops": flops}
    for name, value in numbers.items():
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise UsageError(f"`{name}=` is {value}", expected="a finite number, at least 0")
        if value is not None and name != "flops" and value != int(value):
            raise UsageError(f"`{name}=` is {value}", expected="a whole number")
    if tokens is not None and not are_tokens(tokens, step):
        raise UsageError(f"`tokens=` is {tokens:.15g}", expected=TOKENS_EXPECTED)
    untrained = not (step or tokens or flops)
    check_scale("", params=params, tokens=tokens, flops=flops, may_be_untrained=untrained)
    if family is None and model is None and all(value is None for value in numbers.values()):
        return None
    return CheckpointRequest(
        source="",
        family=family or "",
        model=model or "",
        step=step,
        params=None if params is None else int(params),
        tokens=None if tokens is None else int(tokens),
        flops=flops,
    )
