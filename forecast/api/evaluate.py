"""Scores checkpoints on tasks and stores every item: the workflow behind `forecast eval`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forecast.core.errors import ForecastError, PartialResultError, UsageError
from forecast.core.progress import Progress, SilentProgress
from forecast.core.records import CheckpointRequest
from forecast.evaluation.answers import check_sampling
from forecast.evaluation.chat_tasks import ChatTasks
from forecast.evaluation.executor import Job, LocalExecutor
from forecast.evaluation.lookup import sql_list
from forecast.evaluation.readiness import missing_for_predict
from forecast.evaluation.records import ResultStore, ScoringSettings
from forecast.evaluation.request import EvaluationRequest
from forecast.evaluation.sweep import FamilySweep
from forecast.evaluation.tasks import write_out_tasks
from forecast.hub import Fetcher
from forecast.scoring.devices import settle_device, settle_dtype
from forecast.scoring.task_source import find_tasks, read_task_names
from forecast.scoring.text_files import render_text_files
from forecast.store import Store

if TYPE_CHECKING:
    from forecast.scoring.quantization import Quantization

_COSTS = (
    "tokens_requested",
    "tokens_unique",
    "tokens_computed",
    "tokens_padded",
    "tokens_truncated",
    "seconds",
    "flops_done",
    "flops_bound",
)


@dataclass(frozen=True, kw_only=True)
class FailedCheckpoint:
    """A checkpoint that could not be scored, and why."""

    source: str
    error: str

    @property
    def line(self) -> str:
        """Source and reason, the source once."""
        return self.error if self.error.startswith(self.source) else f"{self.source}: {self.error}"


@dataclass(frozen=True, kw_only=True)
class EvaluationReport:
    """What an evaluation left in the store."""

    rows: tuple[dict[str, object], ...]
    """One row of `scores` per checkpoint and task, with `tokens_unique, tokens_computed, tokens_padded, seconds`."""
    failures: tuple[FailedCheckpoint, ...]
    missing: tuple[str, ...] = ()
    """What a forecast from these results will lack, and how to give it; one sentence each."""

    def __repr__(self) -> str:
        """How much was scored and what failed, in one line."""
        failed = f", {len(self.failures)} failed" if self.failures else ""
        return f"<EvaluationReport: {len(self.rows)} rows{failed}>"

    def check(self) -> EvaluationReport:
        """Raise what went wrong, as `raise_failures` does; return the report where nothing did."""
        self.raise_failures()
        return self

    def raise_failures(self) -> None:
        """Raise what went wrong, if anything did.

        Raises:
            PartialResultError: some checkpoints failed; the others' results are stored.
            ForecastError: all of them failed.
        """
        if not self.failures:
            return
        text = "; ".join(failure.line for failure in self.failures)
        if not self.rows:
            raise ForecastError(text)
        raise PartialResultError(f"{len(self.failures)} checkpoint(s) failed, the others are stored: {text}")


def evaluate(
    request: EvaluationRequest | Sequence[CheckpointRequest],
    *,
    fetcher: Fetcher | None = None,
    progress: Progress | None = None,
    store: ResultStore | None = None,
    **options: Any,
) -> EvaluationReport:
    """Score every checkpoint on every task; what is already stored is not computed again.

    Args:
        request: what is asked; or the checkpoints alone, and the request's other fields (`tasks` and `db` at least) by name.
        fetcher: brings hub checkpoints to local folders; one with the hub's usual settings when not given.
        progress: where bars and notices go.
        store: opened store, for callers that already hold one.
        options: fields of `EvaluationRequest`, where `request` gives only the checkpoints.

    Raises:
        UsageError: an unknown task, device or data type, a definition that is not trusted, or nothing to do.
        InputError: a task's data is missing or malformed.
    """
    if not isinstance(request, EvaluationRequest):
        request = EvaluationRequest(checkpoints=request, **options)
    elif options:
        raise TypeError(f"evaluate() takes no {', '.join(options)} beside a request: make it a field of the request")
    progress = progress or SilentProgress()
    names = _task_names(request)
    texts = render_text_files(request.text_files, limit=request.limit, on_notice=progress.notice)
    definitions = find_tasks(names, include_path=request.include_path, data_dir=request.data_dir, on_notice=progress.notice)
    settings = _settle(request)
    store = store or _open_store(request.db)
    rendering = request.rendering
    chat = None
    if rendering.chat.template is not None and definitions:
        chat, rendered = ChatTasks(definitions=definitions, settings=rendering, progress=progress), list(texts)
    else:
        rendered = write_out_tasks(definitions, rendering, progress) + texts
    check_sampling(rendered, settings.sampling)
    jobs = [Job(checkpoint=checkpoint, tasks=rendered, chat=chat) for checkpoint in request.checkpoints]
    sweep = FamilySweep(jobs, settings, store, fetcher or Fetcher(progress=progress), progress)
    failures: list[FailedCheckpoint] = []
    run_ids: list[str] = []
    for finished in LocalExecutor(sweep.evaluate, store, progress).run(jobs):
        run_ids.extend(finished.run_ids)
        if finished.failure is not None:
            failures.append(FailedCheckpoint(source=finished.job.checkpoint.source, error=str(finished.failure)))
            progress.notice(f"failed: {failures[-1].line}")
    rows = _rows_of(store, run_ids)
    return EvaluationReport(rows=tuple(rows), failures=tuple(failures), missing=tuple(missing_for_predict(store, rows)))


def _task_names(request: EvaluationRequest) -> list[str]:
    names = read_task_names(request.tasks if isinstance(request.tasks, str) else ",".join(request.tasks))
    if not request.checkpoints or not (names or request.text_files):
        raise UsageError(
            f"{len(request.checkpoints)} checkpoints and {len(names) + len(request.text_files)} tasks or text files",
            expected="at least one of each",
        )
    return names


def _settle(request: EvaluationRequest) -> ScoringSettings:
    device = settle_device(request.device)
    return ScoringSettings(
        dtype=settle_dtype(request.dtype, device),
        device=device,
        token_budget=request.token_budget,
        deterministic=request.deterministic,
        device_map=request.device_map,
        backend=request.backend,
        quantization=_settle_quantization(request.quantize, request.backend),
        allow_unused=request.allow_unused_weights,
        sampling=request.sampling,
        gold_only=request.gold_only,
    )


def _open_store(db: Path) -> Store:
    store = Store(db)
    if not db.exists():
        store.create()  # Whoever looks while the data are loaded finds an empty results file, not none.
    return store


def _rows_of(store: ResultStore, run_ids: Sequence[str]) -> list[dict[str, object]]:
    """Rows of `scores` with what the runs cost, sessions of an interrupted run added up."""
    if not run_ids:
        return []
    known = store.lookup(f"SELECT run_id, {', '.join(_COSTS)} FROM runs WHERE run_id IN ({sql_list(run_ids)})")
    costs = {row.pop("run_id"): row for row in known}
    return [{**row, **costs.get(row["run_id"], {})} for row in store.score_rows(run_ids)]


def _settle_quantization(quantize: str | None, backend: str) -> Quantization | None:
    if quantize is None:
        return None
    if backend != "native":
        raise UsageError(
            f"`quantize=` {quantize} with `backend=` {backend}",
            expected="one of them",
            remedy="put the backend's own quantisation into its arguments",
        )
    from forecast.scoring.quantization import settle_quantization

    return settle_quantization(quantize)
