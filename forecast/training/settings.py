"""What a member's training is given besides its plan: how this machine trains, which files, and who writes them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from forecast.training.token_cache import TokenCache


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How this machine trains; changes no result but through rounding."""

    use_cuda: bool
    bfloat16: bool
    compile: bool
    threads: int
    micro_sequences: int
    accumulation: int
    state_every_seconds: float
    """How much work a kill may cost."""
    log_every_steps: int
    peak_flops_per_second: float
    """Measured matmul rate of this device, for MFU."""
    validation_sequences: int
    """Sequences of the validation text that the loss is taken over."""


@dataclass(frozen=True, kw_only=True)
class MemberInputs:
    """Files that a member's training reads and writes."""

    train: TokenCache
    validation: TokenCache | None
    tokenizer: Path
    folder: Path
    """The family's folder; the member's is below it."""


def is_first_process() -> bool:
    """Whether this process writes files (the first of a torchrun, or the only one)."""
    return int(os.environ.get("RANK", "0")) == 0
