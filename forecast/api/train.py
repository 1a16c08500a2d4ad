"""Trains a family from its card, cheapest member first, skipping what is done: the workflow behind `forecast train`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from forecast.catalog.training import TrainingRecipe, read_recipe
from forecast.core.checkpoint_note import read_note
from forecast.core.errors import ForecastError, PartialResultError
from forecast.core.progress import Progress, SilentProgress
from forecast.training.family import (
    STATE_EVERY_SECONDS,
    MemberEstimate,
    TrainingInputs,
    estimate_members,
    select_members,
    train_members,
)
from forecast.training.settings import is_first_process

__all__ = ["MemberEstimate", "TrainingInputs", "TrainingReport", "estimate_family", "train_family"]


@dataclass(frozen=True, kw_only=True)
class TrainingReport:
    """What a training left behind."""

    folder: Path
    checkpoints: tuple[Path, ...]
    """Complete checkpoints of the family, earlier ones included."""
    skipped: tuple[str, ...]
    """Members that were trained already."""
    failures: dict[str, str]
    """Member -> what went wrong."""
    observations: int
    """Validation losses handed to the store."""

    def raise_failures(self) -> None:
        """Raise what went wrong, if anything did.

        Raises:
            PartialResultError: some members failed, others are trained.
            ForecastError: none is trained.
        """
        if not self.failures:
            return
        text = "; ".join(f"{member}: {error}" for member, error in self.failures.items())
        if not self.checkpoints:
            raise ForecastError(text)
        raise PartialResultError(f"{len(self.failures)} member(s) failed, the others are trained: {text}")


def estimate_family(
    card: Path, inputs: TrainingInputs | None, *, folder: Path, seed: int | None = None, members: Sequence[str] = ()
) -> list[MemberEstimate]:
    """Say what training would take on this machine, without training; the corpus is not read.

    Raises:
        InputError: the card or the tokenizer is malformed.
    """
    recipe = select_members(read_recipe(card), members)
    return estimate_members(recipe, None if inputs is None else inputs.tokenizer, folder=folder, seed=seed)


def train_family(
    card: Path,
    inputs: TrainingInputs,
    *,
    folder: Path,
    db: Path | None = None,
    seed: int | None = None,
    members: Sequence[str] = (),
    jobs: int = 1,
    threads: int | None = None,
    largest_first: bool = False,
    device: str = "auto",
    state_every_seconds: float = STATE_EVERY_SECONDS,
    progress: Progress | None = None,
) -> TrainingReport:
    """Train every member of the card that is not trained yet.

    Args:
        card: family card with a `training:` block.
        inputs: corpus, tokenizer, validation text.
        folder: receives `<member>/step<N>` checkpoint folders and the token cache.
        db: results file that the validation losses go to; None keeps them in the checkpoints' notes only.
        seed: of weights and data order; None takes the card's.
        members: names to train; empty for all.
        jobs: members trained side by side (CPU only).
        threads: CPU threads per member; None shares the cores among the jobs. The same number gives the same weights.
        largest_first: start with the most expensive member, which ends a side-by-side training sooner.
        device: auto, cpu or cuda.
        state_every_seconds: how much work a kill may cost.
        progress: where bars and notices go.

    Raises:
        InputError: card, corpus or tokenizer are malformed, or a member fits nowhere.
        UsageError: a member's name is unknown.
    """
    whole = read_recipe(card)
    recipe = select_members(whole, members)
    trained = train_members(
        whole,
        recipe,
        inputs,
        folder=folder,
        seed=seed,
        jobs=jobs,
        threads=threads,
        largest_first=largest_first,
        device=device,
        state_every_seconds=state_every_seconds,
        progress=progress or SilentProgress(),
    )
    stored = _store_losses(trained.checkpoints, inputs, recipe, db) if db is not None and is_first_process() else 0
    return TrainingReport(
        folder=folder,
        checkpoints=trained.checkpoints,
        skipped=trained.skipped,
        failures=trained.failures,
        observations=stored,
    )


def _store_losses(checkpoints: Sequence[Path], inputs: TrainingInputs, recipe: TrainingRecipe, db: Path) -> int:
    """Make each checkpoint's validation loss an observation; its task is the validation text's name."""
    if inputs.validation is None:
        return 0
    from forecast.core.observation_rows import ObservationRow
    from forecast.store import Store

    rows = []
    for path in checkpoints:
        note = read_note(path)
        if note is None or note.validation_loss is None:
            continue
        fraction = note.metadata.get("lr_fraction")
        rows.append(
            ObservationRow(
                family=note.family,
                model=note.model,
                task=inputs.validation.name.split(".txt")[0].removesuffix(".parquet"),
                metrics={"loss": note.validation_loss},
                step=note.step,
                params=note.params,
                params_non_embedding=note.params_non_embedding,
                tokens=note.tokens,
                flops=note.flops,
                flops_convention=note.flops_convention,
                is_final=note.is_final,
                lr_fraction=float(fraction) if isinstance(fraction, int | float) else None,
            )
        )
    if rows:
        Store(db).add_observations(rows, source=f"forecast train {recipe.family}")
    return len(rows)
