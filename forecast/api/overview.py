"""What can be named: families and benchmarks with their facts, and how much of each is already scored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from forecast.catalog.benchmarks import BenchmarkCard, load_benchmark, load_benchmarks
from forecast.catalog.checkpoint_folders import as_models, find_checkpoints, untrained_model
from forecast.catalog.families import Fact, FamilyCard, ModelCard, load_families, load_family
from forecast.catalog.requests import request_of
from forecast.catalog.revisions import final_revision
from forecast.catalog.training import read_recipe
from forecast.evaluation.selection import DEFAULT_CHECKPOINTS


@dataclass(frozen=True, kw_only=True)
class ScoredRun:
    """A finished run, as the results file has it."""

    family: str
    model: str
    revision: str
    """Hub branch or tag; empty for a folder."""
    step: int | None
    task: str
    num_fewshot: int

    @property
    def checkpoint(self) -> tuple[str, str, str, int | None]:
        """What tells one checkpoint from another: folders of one run differ by their step."""
        return (self.family, self.model, self.revision, self.step)


@dataclass(frozen=True, kw_only=True)
class ModelOverview:
    """One model of a family."""

    model: str
    size: str
    subset: str
    params: int | None
    params_non_embedding: int | None
    tokens: int | None
    """Training tokens of the final checkpoint."""
    flops: float | None
    """Training FLOPs of the final checkpoint, by the family's convention."""
    checkpoints: int
    """Published, or (in-house) found on this disk."""
    scored_checkpoints: int
    scored_tasks: tuple[str, ...]
    source: str


@dataclass(frozen=True, kw_only=True)
class FamilyOverview:
    """One family."""

    family: str
    title: str
    description: str
    in_house: bool
    flops_convention: str
    facts: Mapping[str, Fact]
    models: tuple[ModelOverview, ...]
    checkpoints: int
    scored_checkpoints: int
    scored_tasks: tuple[str, ...]
    min_flops: float | None
    """Of final checkpoints."""
    max_flops: float | None


@dataclass(frozen=True, kw_only=True)
class BenchmarkOverview:
    """One benchmark."""

    card: BenchmarkCard
    scored_checkpoints: int
    """Distinct checkpoints with a finished run."""
    scored_families: tuple[str, ...]


def finished_runs(db: Path) -> list[ScoredRun]:
    """Return the finished runs of a results file; none where there is no file. Nothing is created.

    Raises:
        StoreError: the file is damaged or locked.
    """
    if not db.exists():
        return []
    from forecast.store import Store
    from forecast.store.named_queries import FINISHED_RUNS

    return [
        ScoredRun(
            family=str(row["family"]),
            model=str(row["model"]),
            revision=str(row["revision"] or ""),
            step=None if row["step"] is None else int(row["step"]),
            task=str(row["task"]),
            num_fewshot=int(row["num_fewshot"] or 0),
        )
        for row in Store(db).rows(FINISHED_RUNS)
    ]


def family_overviews(*, db: Path, names: Sequence[str] = (), checkpoints: Path = DEFAULT_CHECKPOINTS) -> list[FamilyOverview]:
    """Describe all families, or those named.

    Raises:
        UsageError: an unknown family.
        InputError: a malformed card.
    """
    cards = [load_family(name) for name in names] if names else load_families()
    finished: dict[str, list[ScoredRun]] = defaultdict(list)
    for run in finished_runs(db):
        finished[run.family].append(run)
    return [_describe_family(card, finished[card.name], checkpoints) for card in cards]


def _describe_family(card: FamilyCard, finished: Sequence[ScoredRun], checkpoints: Path) -> FamilyOverview:
    cards = _in_house_models(card, checkpoints) if card.is_in_house else card.models
    models = tuple(_describe_model(card, model, [run for run in finished if run.model == model.name]) for model in cards)
    flops = [model.flops for model in models if model.flops]
    return FamilyOverview(
        family=card.name,
        title=card.title,
        description=card.description,
        in_house=card.is_in_house,
        flops_convention=card.flops_convention.value,
        facts=card.facts,
        models=models,
        checkpoints=sum(model.checkpoints for model in models),
        scored_checkpoints=len({run.checkpoint for run in finished}),
        scored_tasks=tuple(sorted({run.task for run in finished})),
        min_flops=min(flops, default=None),
        max_flops=max(flops, default=None),
    )


def _in_house_models(card: FamilyCard, checkpoints: Path) -> tuple[ModelCard, ...]:
    """Members of the recipe, with what lies on this disk of each; then trained models that the recipe no longer names."""
    trained = {model.name: model for model in as_models(find_checkpoints(checkpoints, family=card.name), family=card.name)}
    planned = [member.name for member in read_recipe(card.path).members]
    names = [*planned, *(name for name in trained if name not in planned)]
    return tuple(trained[name] if name in trained else untrained_model(name, family=card.name) for name in names)


def _describe_model(card: FamilyCard, model: ModelCard, finished: Sequence[ScoredRun]) -> ModelOverview:
    final = final_revision(model) if model.revisions else None
    flops = model.flops
    if final is not None and not card.is_in_house:
        flops = request_of(card, model, final).flops
    return ModelOverview(
        model=model.name,
        size=model.size,
        subset=model.subset,
        params=model.params,
        params_non_embedding=model.params_non_embedding,
        tokens=final.tokens if final is not None else None,
        flops=flops,
        checkpoints=len(model.revisions),
        scored_checkpoints=len({run.checkpoint for run in finished}),
        scored_tasks=tuple(sorted({run.task for run in finished})),
        source=model.source,
    )


def benchmark_overviews(*, db: Path, names: Sequence[str] = ()) -> list[BenchmarkOverview]:
    """Describe all benchmarks that have a card, or those named.

    Raises:
        UsageError: an unknown benchmark.
        InputError: a malformed card.
    """
    cards = [load_benchmark(name) for name in names] if names else load_benchmarks()
    finished = finished_runs(db)
    overviews = []
    for card in cards:
        runs = [run for run in finished if run.task in {card.name, card.lm_eval_task}]
        overviews.append(
            BenchmarkOverview(
                card=card,
                scored_checkpoints=len({run.checkpoint for run in runs}),
                scored_families=tuple(sorted({run.family for run in runs})),
            )
        )
    return overviews
