"""Verbs that move results and checkpoints: import, export, train. Paths may be text; the rest as in `verbs`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from forecast.core.names import read_names

if TYPE_CHECKING:
    from forecast.api.ingest import ImportReport
    from forecast.api.train import MemberEstimate, TrainingReport
    from forecast.api.verbs import Source
    from forecast.catalog.families import FamilyCard
    from forecast.core.progress import Progress


def import_(
    db: Source,
    *paths: Source,
    family: str | None = None,
    model: str | None = None,
    step: int | None = None,
    params: float | None = None,
    tokens: float | None = None,
    flops: float | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Take lm-eval results and samples, tables of observations or exports into a results file: all of it or nothing.

    Args:
        db: results file; made where there is none.
        paths: files and folders. Importing the same again changes nothing.
        family: what the files do not say of their one checkpoint: its family,
        model: its name,
        step: its training step,
        params: its parameters,
        tokens: its training tokens,
        flops: its training FLOPs.
        progress: where bars and notices go.

    Returns:
        What was added, left out and could not be read; `raise_if_partial()` raises for the last.

    Raises:
        UsageError: no path, or a number out of range.
        InputError: a file is missing, malformed or out of range; nothing has been stored.
    """
    from forecast.api.ingest import describe, import_paths
    from forecast.api.notices import WarningProgress
    from forecast.core.errors import UsageError

    if not paths:
        raise UsageError("nothing to import", expected="files or folders")
    described = describe(family=family, model=model, step=step, params=params, tokens=tokens, flops=flops)
    return import_paths(
        [Path(path) for path in paths], db=Path(db), described=described, progress=progress or WarningProgress()
    )


def export(db: Source, destination: Source, *, form: str = "parquet") -> list[Path]:
    """Write results in another form, and return the files written.

    Args:
        db: results file.
        destination: folder; for `csv` a file.
        form: `parquet` (everything; `import_` takes it in again), `csv` (scores), `lm-eval` or `eval-results`.

    Raises:
        UsageError: unknown form.
        InputError: nothing to export, or the destination is in use.
    """
    from forecast.api.export import export_store

    return export_store(Path(db), Path(destination), form=form)


def train(
    family: Source,
    *,
    corpus: Source,
    tokenizer: Source,
    validation: Source | None = None,
    folder: Source | None = None,
    db: Source | None = None,
    seed: int | None = None,
    members: str | Sequence[str] = (),
    jobs: int = 1,
    threads: int | None = None,
    device: str = "auto",
    state_every_seconds: float = 60.0,
    progress: Progress | None = None,
) -> TrainingReport:
    """Train the members of a family that are not trained yet, cheapest first; interrupted ones continue.

    Args:
        family: name of a card with a `training:` block, or the path of one.
        corpus: text (.txt, .gz, .xz) or Parquet.
        tokenizer: folder with tokenizer.json.
        validation: held-out text, whose loss is stored.
        folder: receives the checkpoints; `checkpoints/FAMILY` when left out.
        db: results file for the validation losses; None stores none.
        seed: of weights and data order; None takes the card's.
        members: names to train; empty for all.
        jobs: members trained side by side (CPU only).
        threads: CPU threads per member.
        device: `auto`, `cpu` or `cuda`.
        state_every_seconds: how much work a kill may cost.
        progress: where bars and notices go.

    Raises:
        InputError: card, corpus or tokenizer are malformed, or a member fits nowhere.
        UsageError: a member's name is unknown.
    """
    from forecast.api.notices import WarningProgress
    from forecast.api.train import TrainingInputs, train_family

    card = _card(family)
    inputs = TrainingInputs(
        corpus=Path(corpus), tokenizer=Path(tokenizer), validation=None if validation is None else Path(validation)
    )
    return train_family(
        card.path,
        inputs,
        folder=_folder(card, folder),
        db=None if db is None else Path(db),
        seed=seed,
        members=read_names("members", members or None) or (),
        jobs=jobs,
        threads=threads,
        device=device,
        state_every_seconds=state_every_seconds,
        progress=progress or WarningProgress(),
    )


def estimate_training(
    family: Source,
    *,
    tokenizer: Source | None = None,
    folder: Source | None = None,
    seed: int | None = None,
    members: str | Sequence[str] = (),
) -> list[MemberEstimate]:
    """Say what `train` would take on this machine (FLOPs, bytes, seconds), without training; arguments as there.

    Raises:
        InputError: the card or the tokenizer is malformed.
        UsageError: a member's name is unknown.
    """
    from forecast.api.train import TrainingInputs, estimate_family

    card = _card(family)
    # An estimate reads no corpus.
    inputs = None if tokenizer is None else TrainingInputs(corpus=Path(), tokenizer=Path(tokenizer))
    chosen = read_names("members", members or None) or ()
    return estimate_family(card.path, inputs, folder=_folder(card, folder), seed=seed, members=chosen)


def _card(family: Source) -> FamilyCard:
    from forecast.catalog.families import load_family

    return load_family(str(family))


def _folder(card: FamilyCard, folder: Source | None) -> Path:
    return Path("checkpoints") / card.name if folder is None else Path(folder)
