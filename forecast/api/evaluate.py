"""Scores checkpoints on tasks and stores every item: the workflow behind `forecast eval`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from forecast.core.errors import ForecastError, PartialResultError, UsageError
from forecast.core.progress import Progress, SilentProgress
from forecast.core.records import CheckpointRequest
from forecast.evaluation.readiness import missing_for_predict
from forecast.evaluation.tasks import RenderingSettings, write_out_tasks
from forecast.hub import Fetcher
from forecast.scoring.devices import settle_device, settle_dtype
from forecast.scoring.rendering import LM_EVAL_FEWSHOT_SEED
from forecast.scoring.task_source import find_tasks, read_task_names
from forecast.scoring.text_files import render_text_files
from forecast.store import Store

if TYPE_CHECKING:
    from forecast.evaluation.records import ResultStore
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
    requests: Sequence[CheckpointRequest],
    *,
    tasks: Sequence[str] | str,
    db: str | Path,
    text_files: Sequence[str | Path] = (),
    num_fewshot: int | None = None,
    limit: int | None = None,
    include_path: str | Path | None = None,
    trust_task_code: bool = False,
    data_dir: str | Path | None = None,
    dtype: str = "auto",
    device: str = "auto",
    token_budget: int | None = None,
    deterministic: bool = False,
    fewshot_seed: int = LM_EVAL_FEWSHOT_SEED,
    skip_empty: bool = False,
    device_map: str | None = None,
    backend: str = "native",
    quantize: str | None = None,
    fetcher: Fetcher | None = None,
    progress: Progress | None = None,
    store: ResultStore | None = None,
    allow_unused_weights: bool = False,
) -> EvaluationReport:
    """Score every checkpoint on every task; what is already stored is not computed again.

    Args:
        requests: checkpoints, each a local folder or a hub id.
        tasks: lm-eval task, group or tag names; a text is a comma-separated list of them.
        db: results file.
        text_files: UTF-8 text files (.txt, .gz, .xz), each a task `text:STEM` of rolling loglikelihoods, one item per document.
        num_fewshot: examples before each question; None leaves each task's own number.
        limit: first items of each task only.
        include_path: folder with lm-eval YAML tasks: text and sandboxed templates, no code of their own.
        trust_task_code: let definitions of `include_path` run code of their own, as lm-eval does.
        data_dir: local mirror of hub data sets, `<hub id>/<config or default>/<split>.jsonl.gz`.
        dtype: weights and activations; `auto` is float32 on the CPU and bfloat16 on CUDA.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        token_budget: positions per forward pass; None chooses.
        deterministic: the same bits whatever the batch budget, at the price of sharing.
        fewshot_seed: seed of the examples' draw.
        skip_empty: leave items with an empty choice out instead of refusing the task; a choice of white space alone has a
            length and is scored, as lm-eval does.
        device_map: transformers' `device_map`, for models larger than one GPU.
        backend: `native`, or `lm-eval:NAME,ARGS` to send the requests through a model of lm-eval's registry.
        quantize: `int8` or `int4` (or e.g. `int8-torchao`): score a quantised variant, kept as a member of its own.
        fetcher: brings hub checkpoints to local folders; one with the hub's usual settings when not given.
        progress: where bars and notices go.
        store: opened store, for callers that already hold one.
        allow_unused_weights: leave out tensors of the files that the model does not take, instead of refusing the checkpoint.

    Raises:
        UsageError: an unknown task, device or data type, a definition that is not trusted, or nothing to do.
        InputError: a task's data is missing or malformed.
    """
    db, texts_given = Path(db), [Path(file) for file in text_files]
    include_path = None if include_path is None else Path(include_path)
    data_dir = None if data_dir is None else Path(data_dir)
    names = read_task_names(tasks if isinstance(tasks, str) else ",".join(tasks))
    if not requests or not (names or text_files):
        raise UsageError(
            f"{len(requests)} checkpoints and {len(names) + len(text_files)} tasks or text files",
            expected="at least one of each",
        )
    progress = progress or SilentProgress()
    texts = render_text_files(texts_given, limit=limit, on_notice=progress.notice)
    definitions = find_tasks(names, include_path=include_path, data_dir=data_dir, on_notice=progress.notice)
    # What loads models takes seconds to import: a wrong name is refused before that.
    from forecast.evaluation.records import ScoringSettings
    from forecast.evaluation.sweep import FamilySweep

    settled_device = settle_device(device)
    settings = ScoringSettings(
        dtype=settle_dtype(dtype, settled_device),
        device=settled_device,
        token_budget=token_budget,
        deterministic=deterministic,
        device_map=device_map,
        backend=backend,
        quantization=_settle_quantization(quantize, backend),
        allow_unused=allow_unused_weights,
    )
    if store is None:
        store = Store(db)
        if not db.exists():
            store.create()  # Whoever looks while the data are loaded finds an empty results file, not none.
    rendering = RenderingSettings(
        num_fewshot=num_fewshot,
        limit=limit,
        fewshot_seed=fewshot_seed,
        skip_empty=skip_empty,
        data_dir=data_dir,
        trust_code=trust_task_code,
    )
    rendered = write_out_tasks(definitions, rendering, progress) + texts
    failures: list[FailedCheckpoint] = []
    run_ids: list[str] = []
    family = FamilySweep(requests, rendered, settings, store, fetcher or Fetcher(progress=progress), progress)
    with progress.stage("checkpoints", len(requests)) as family_bar:
        for request in requests:
            family_bar.describe(request.model or request.source)
            try:
                run_ids.extend(family.evaluate(request))
            except UsageError:
                raise  # What was asked for is wrong for every checkpoint.
            except ForecastError as error:
                failures.append(FailedCheckpoint(source=request.source, error=str(error)))
                progress.notice(f"failed: {failures[-1].line}")
                with suppress(ForecastError, OSError):
                    store.commit()  # What was finished before; where this fails too, the spool keeps it.
            family_bar.advance()
    rows = _rows_of(store, run_ids)
    return EvaluationReport(rows=tuple(rows), failures=tuple(failures), missing=tuple(missing_for_predict(store, rows)))


def _rows_of(store: ResultStore, run_ids: Sequence[str]) -> list[dict[str, object]]:
    """Rows of `scores` with what the runs cost, sessions of an interrupted run added up."""
    if not run_ids:
        return []
    listed = ", ".join(f"'{run_id}'" for run_id in run_ids)
    costs: dict[object, dict[str, object]] = {}
    for part in store.query(f"SELECT run_id, {', '.join(_COSTS)} FROM runs WHERE run_id IN ({listed})"):
        costs.update({row.pop("run_id"): row for row in part.to_pylist()})
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
