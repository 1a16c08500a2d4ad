"""What a training run reports while it runs: small records that also travel between processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class StepsDone:
    """Some optimiser steps of a member are done."""

    member: str
    steps: int
    """Steps since the last report, those skipped by a restart included."""
    loss: float | None
    """Training loss of the last step, nats per token; None when the steps were skipped."""
    tokens_per_second: float | None
    mfu: float | None
    """Model FLOPs utilisation: FLOPs per second over this device's measured matmul rate."""


@dataclass(frozen=True, kw_only=True)
class CheckpointSaved:
    """A checkpoint folder is complete."""

    member: str
    folder: str
    step: int
    validation_loss: float | None


Event = StepsDone | CheckpointSaved
Report = Callable[[Event], None]
