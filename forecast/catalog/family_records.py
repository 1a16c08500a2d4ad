"""What a family card says, as records: facts of training and where they are published, never scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from forecast.core.units import FlopsConvention


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A statement about a family and where it is published."""

    value: str | int
    source: str
    """Web address."""


@dataclass(frozen=True, kw_only=True)
class RevisionCard:
    """One published checkpoint of a model."""

    name: str
    """Hub branch or tag."""
    step: int | None
    """Optimiser steps taken."""
    tokens: int | None
    """Training tokens seen."""
    is_final: bool
    """End of the run, learning rate decayed."""
    lr_fraction: float | None = None
    """Learning rate over its peak, where the card states the schedule."""


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """One training run of a family."""

    name: str
    size: str
    """Label on the command line, e.g. `70m`."""
    hub: str
    """Hub id; empty for a model of an in-house family."""
    params: int | None
    """All parameters."""
    params_non_embedding: int | None
    flops: float | None
    """Training FLOPs of the final revision, where the source prints them."""
    revisions: tuple[RevisionCard, ...]
    """Ordered by step; empty for a model of an in-house family."""
    source: str
    """Web address of these numbers."""
    main_is_final: bool = False
    """Whether the hub's default branch holds the final revision."""
    subset: str = ""
    """Part of the family that laws should not mix with others, e.g. a training corpus."""


@dataclass(frozen=True, kw_only=True)
class FamilyCard:
    """A suite of models trained by one recipe."""

    name: str
    title: str
    description: str
    path: Path
    flops_convention: FlopsConvention
    facts: Mapping[str, Fact]
    """licence, corpus, tokenizer, architecture, context_length, ...: field -> fact."""
    models: tuple[ModelCard, ...]
    """Smallest first."""
    training: Mapping[str, object] | None = None
    """The `training:` block of an in-house family, as written."""

    @property
    def is_in_house(self) -> bool:
        """Whether the checkpoints are trained here rather than fetched from a hub."""
        return self.training is not None
