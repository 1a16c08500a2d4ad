"""Checkpoints of in-house families: the folders with a `forecast.json` that `forecast train` left behind."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from forecast.catalog.families import ModelCard, RevisionCard
from forecast.catalog.sizes import parse_count
from forecast.core.checkpoint_note import FILE_NAME, CheckpointNote, read_note


@dataclass(frozen=True, kw_only=True)
class CheckpointFolder:
    """One folder of weights, and what its note says of it."""

    path: Path
    note: CheckpointNote


def find_checkpoints(root: Path, *, family: str) -> list[CheckpointFolder]:
    """Return all checkpoint folders of `family` below `root`, sorted by path; a folder being written (`.partial`) is none.

    Raises:
        InputError: a note is malformed.
    """
    found: list[CheckpointFolder] = []
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith(".") and not name.endswith(".partial"))
        if FILE_NAME in files and "config.json" in files:
            note = read_note(Path(folder))
            if note is not None and note.family == family:
                found.append(CheckpointFolder(path=Path(folder), note=note))
    return found


def as_models(checkpoints: Sequence[CheckpointFolder], *, family: str) -> tuple[ModelCard, ...]:
    """Describe found checkpoints as a card describes published ones; a revision's name is its folder."""
    runs: dict[str, list[CheckpointFolder]] = defaultdict(list)
    for checkpoint in checkpoints:
        runs[checkpoint.note.model].append(checkpoint)
    models = []
    for name, members in runs.items():
        notes = sorted(members, key=lambda entry: (entry.note.step is None, entry.note.step or 0, str(entry.path)))
        models.append(
            ModelCard(
                name=name,
                size=_size_label(name, family),
                hub="",
                params=notes[-1].note.params,
                params_non_embedding=notes[-1].note.params_non_embedding,
                flops=notes[-1].note.flops,
                revisions=tuple(_as_revision(entry) for entry in notes),
                source="",
            )
        )
    return tuple(models)


def untrained_model(name: str, *, family: str) -> ModelCard:
    """Describe a member of which nothing lies on this disk."""
    return ModelCard(
        name=name,
        size=_size_label(name, family),
        hub="",
        params=None,
        params_non_embedding=None,
        flops=None,
        revisions=(),
        source="",
    )


def _size_label(model: str, family: str) -> str:
    lowered = model.lower()
    label = lowered.removeprefix(family.lower()).lstrip("-_")
    if label == lowered and parse_count(lowered.rpartition("-")[2]) is not None:
        return lowered.rpartition("-")[2]
    return label or lowered


def _as_revision(checkpoint: CheckpointFolder) -> RevisionCard:
    note = checkpoint.note
    return RevisionCard(name=str(checkpoint.path), step=note.step, tokens=note.tokens, is_final=note.is_final)
