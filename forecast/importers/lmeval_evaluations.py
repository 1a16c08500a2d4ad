"""An lm-eval evaluation as records: which checkpoint it was, from its own words, the cards and the user; what it measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from forecast.core.checkpoint_note import FILE_NAME, read_note
from forecast.core.errors import InputError
from forecast.core.hashing import content_hash
from forecast.core.metrics import ACCURACY_METRICS
from forecast.core.observation_rows import ObservationRow
from forecast.core.plain_json import to_plain
from forecast.core.records import CheckpointRecord, CheckpointRequest, Metadata, RunRecord, ScoredShard, TaskRecord
from forecast.core.scale import check_scale
from forecast.core.units import checkpoint_flops
from forecast.importers.lmeval_comparison import compare, recompute
from forecast.importers.lmeval_identity import ModelIdentity
from forecast.importers.lmeval_results import StatedResults, StatedTask
from forecast.importers.lmeval_samples import (
    NoLoglikelihoodsError,
    SampledTask,
    find_samples,
    read_samples,
)

if TYPE_CHECKING:
    from forecast.catalog.families import FamilyCard

SOURCE = "lm-eval"
"""Source of observations from results files without samples."""


@dataclass(frozen=True, kw_only=True)
class ImportedRun:
    """One checkpoint's answers to one task, with what identifies both."""

    checkpoint: CheckpointRecord
    task: TaskRecord
    run: RunRecord
    shard: ScoredShard


@dataclass(frozen=True, kw_only=True)
class ImportedEvaluation:
    """Everything that a results file and its samples files hold."""

    tasks: tuple[str, ...]
    """All that the file names."""
    runs: tuple[ImportedRun, ...]
    observations: tuple[ObservationRow, ...]
    disagreements: tuple[str, ...]


def read_evaluation(
    results: StatedResults,
    described: CheckpointRequest | None,
    notice: Callable[[str], None],
    left_out: Callable[[str], None],
) -> ImportedEvaluation:
    """Turn a results file, with the samples files next to it, into records; `left_out` is told what is not kept.

    Raises:
        InputError: a samples file is malformed, or the checkpoint's numbers contradict each other.
    """
    checkpoint = _checkpoint(results, described)
    if checkpoint.flops is None and checkpoint.tokens is None:
        notice(f"{results.path.name}: nothing says how long {checkpoint.model} was trained; `tokens=` or `flops=` would")
    runs: list[ImportedRun] = []
    observations: list[ObservationRow] = []
    disagreements: list[str] = []
    for stated in results.tasks:
        samples = _samples(results, stated, left_out)
        unused = dict(stated.unused)
        if samples is not None:
            disagreements += [f"{results.path.name}: {sentence}" for sentence in compare(stated, samples)]
            runs.append(_run(results, stated, samples, checkpoint))
            recomputed = recompute(samples)
            unused = {name: reason for name, reason in unused.items() if name not in recomputed}
            unused |= {name: "its samples do not give it" for name in stated.metrics if name not in recomputed}
        elif stated.metrics:
            row = _observation(results, stated, checkpoint)
            if row.metrics:
                observations.append(row)
            else:
                unused |= dict.fromkeys(stated.metrics, "no law here uses it")
        if unused:
            left_out(f"{results.path.name}: {stated.task}: not kept are {_reasons(unused)}")
    return ImportedEvaluation(
        tasks=tuple(stated.task for stated in results.tasks),
        runs=tuple(runs),
        observations=tuple(observations),
        disagreements=tuple(disagreements),
    )


def _reasons(unused: Mapping[str, str]) -> str:
    """Name metrics by the reason they share."""
    by_reason: dict[str, list[str]] = {}
    for name in sorted(unused):
        by_reason.setdefault(unused[name], []).append(name)
    return "; ".join(f"{', '.join(names)} ({reason})" for reason, names in by_reason.items())


def _date(path: Path) -> str:
    return path.stem.removeprefix("results_")


def _samples(results: StatedResults, stated: StatedTask, left_out: Callable[[str], None]) -> SampledTask | None:
    path = find_samples(results.path.parent, stated.task, _date(results.path))
    if path is None:
        return None
    try:
        return read_samples(path, stated.config)
    except NoLoglikelihoodsError as error:
        left_out(f"{error}; of {stated.task} only the aggregates are imported")
        return None


def _checkpoint(results: StatedResults, described: CheckpointRequest | None) -> CheckpointRecord:
    identity = results.identity
    request = _from_card(identity) or _from_folder(identity) or _from_name(identity)
    if described is not None:
        request = _as_described(request, described)
    params = request.params if request.params is not None else identity.params
    flops, convention = request.flops, request.flops_convention
    if flops is None:
        flops, counted = checkpoint_flops(params=params, tokens=request.tokens)
        convention = counted or convention
    check_scale(
        f"{results.path}: {request.model}",
        params=params,
        params_non_embedding=request.params_non_embedding,
        tokens=request.tokens,
        flops=flops,
        may_be_untrained=not (request.step or request.tokens or flops),
        error=InputError,
    )
    return CheckpointRecord(
        checkpoint_id=content_hash(
            ["lm-eval", identity.source, identity.revision, identity.revision_sha, request.model, request.step]
        ),
        family=request.family,
        model=request.model,
        revision=identity.revision,
        revision_sha=identity.revision_sha,
        source=identity.source,
        step=request.step,
        params=params,
        params_non_embedding=request.params_non_embedding,
        tokens=request.tokens,
        flops=flops,
        flops_convention=convention,
        is_final=request.is_final,
        metadata=request.metadata,
    )


@cache
def _cards() -> tuple[FamilyCard, ...]:
    """The published families, read once: a collection of evaluations has thousands of files."""
    from forecast.catalog.families import load_families

    return tuple(load_families())


def _from_card(identity: ModelIdentity) -> CheckpointRequest | None:
    """Find the checkpoint among the published families, by hub id or model name and by revision or step."""
    from forecast.catalog.requests import request_of
    from forecast.catalog.revisions import final_revision

    for card in _cards():
        for model in card.models:
            if identity.source != model.hub and identity.model.lower() not in (
                model.name.lower(),
                Path(model.hub).name.lower(),
            ):
                continue
            for revision in model.revisions:
                if revision.name == identity.revision or (identity.step is not None and revision.step == identity.step):
                    return request_of(card, model, revision)
            if not identity.revision and identity.step is None and model.revisions:
                return request_of(card, model, final_revision(model))
    return None


def _from_folder(identity: ModelIdentity) -> CheckpointRequest | None:
    from forecast.catalog.requests import request_of_note

    folder = Path(identity.source)
    note = read_note(folder) if folder.is_absolute() and (folder / FILE_NAME).is_file() else None
    return None if note is None else request_of_note(identity.source, note)


def _from_name(identity: ModelIdentity) -> CheckpointRequest:
    return CheckpointRequest(
        source=identity.source,
        revision=identity.revision,
        family=identity.model,
        model=identity.model,
        step=identity.step,
        is_final=identity.step is None,
    )


def _as_described(request: CheckpointRequest, described: CheckpointRequest) -> CheckpointRequest:
    from forecast.catalog.requests import override

    named = replace(
        request,
        family=described.family or request.family,
        model=described.model or request.model,
        step=described.step if described.step is not None else request.step,
    )
    return override(named, params=described.params, tokens=described.tokens, flops=described.flops)


def _run(results: StatedResults, stated: StatedTask, samples: SampledTask, checkpoint: CheckpointRecord) -> ImportedRun:
    config = {key: value for key, value in (stated.config or {}).items() if key not in _NOT_DEFINING}
    definition_hash = content_hash(to_plain(config))
    items = tuple(entry.item for entry in samples.items)
    asked = [[item.item_idx, item.prompt_hash, list(item.choices), item.gold, list(item.golds)] for item in items]
    task = TaskRecord(
        task_id=content_hash([SOURCE, stated.task, definition_hash, stated.version, stated.num_fewshot, asked]),
        task=stated.task,
        num_fewshot=stated.num_fewshot or 0,
        fewshot_seed=stated.fewshot_seed,
        output_type=samples.output_type,
        definition_hash=definition_hash,
        version=stated.version,
        limit=stated.item_limit if stated.limit_fraction is None else len(items),
        items=items,
    )
    answers = [[entry.item.item_idx, list(entry.loglikelihoods)] for entry in samples.items]
    run = RunRecord(
        run_id=content_hash([checkpoint.checkpoint_id, task.task_id, results.identity.dtype, results.backend, answers]),
        checkpoint_id=checkpoint.checkpoint_id,
        task_id=task.task_id,
        dtype=results.identity.dtype or "unknown",
        device="unknown",
        backend=results.backend,
        scoring_version=SOURCE,
        metadata=_provenance(results),
    )
    shard = ScoredShard(
        run_id=run.run_id,
        item_idx=tuple(entry.item.item_idx for entry in samples.items),
        loglikelihoods=tuple(entry.loglikelihoods for entry in samples.items),
        # lm-eval does not write how many tokens a choice had; zero stands for unknown.
        n_tokens=tuple((0,) * len(entry.loglikelihoods) for entry in samples.items),
        is_greedy=tuple(entry.is_greedy for entry in samples.items),
    )
    return ImportedRun(checkpoint=checkpoint, task=task, run=run, shard=shard)


_NOT_DEFINING = frozenset(
    {"metadata", "metric_list", "dataset_kwargs", "num_fewshot", "repeats", "unsafe_code", "task_alias", "tag"}
)
"""Parts of a task's configuration that change neither items nor prompts, or name local paths."""


def _provenance(results: StatedResults) -> Metadata:
    path = results.path
    return {"file": path.name, "path": str(path.resolve()), "lm_eval_version": results.harness_version, "date": results.date}


def _observation(results: StatedResults, stated: StatedTask, checkpoint: CheckpointRecord) -> ObservationRow:
    metrics = {name: stated.metrics[name] for name in ACCURACY_METRICS if name in stated.metrics}
    sems = {name: stated.sems[name] for name in metrics if name in stated.sems}
    if "bits_per_byte" in stated.metrics and stated.metrics["bits_per_byte"] >= 0.0:
        metrics["bits_per_byte"] = stated.metrics["bits_per_byte"]
        metrics["nll_per_byte"] = stated.metrics["bits_per_byte"] * math.log(2.0)
    extra: dict[str, str | int | float | bool | None] = {
        name: value for name, value in stated.metrics.items() if name not in metrics
    }
    perplexity = stated.metrics.get("perplexity", stated.metrics.get("ppl"))
    if perplexity is not None and perplexity > 0.0:
        extra["nll_per_target"] = math.log(perplexity)
    limit = stated.item_limit or stated.limit_fraction or "none"
    definition = [f"version={stated.version}", f"limit={limit}", f"backend={results.backend}"]
    if results.identity.dtype:
        definition.append(f"dtype={results.identity.dtype}")
    return ObservationRow(
        family=checkpoint.family,
        model=checkpoint.model,
        task=stated.task,
        metrics=metrics,
        sems=sems,
        step=checkpoint.step,
        params=checkpoint.params,
        params_non_embedding=checkpoint.params_non_embedding,
        tokens=checkpoint.tokens,
        flops=checkpoint.flops,
        flops_convention=checkpoint.flops_convention,
        num_fewshot=stated.num_fewshot,
        revision=checkpoint.revision,
        is_final=checkpoint.is_final,
        n_items=stated.n_items,
        source=SOURCE,
        definition=" ".join(definition),
        metadata={**extra, **_provenance(results)},
    )
