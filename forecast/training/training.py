"""Trains one member with transformers' Trainer: resumable after a kill, deterministic on one machine, torchrun-able.

A run is a chain of phases. A cosine run is one phase; a warmup-stable-decay run is a trunk at constant rate with, for each
budget, a branch that decays from the trunk's state. Every phase keeps its own restart states; a finished member has none.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from forecast.catalog.training import ScheduleKind
from forecast.core.errors import CheckpointError
from forecast.core.memory_reuse import keep_freed_memory
from forecast.training.checkpoints import find_saved, kept_folder, plan_hash
from forecast.training.events import Report, StepsDone
from forecast.training.plan import Branch, MemberPlan
from forecast.training.token_cache import TokenCache

if TYPE_CHECKING:
    from transformers import PreTrainedModel


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


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One stretch of steps with its own restart states."""

    name: str
    start: int
    end: int
    branch: Branch
    """Decides the learning rate."""
    after: str | None
    """Phase whose last state this one starts from."""
    is_branch_end: bool


def phases(plan: MemberPlan) -> tuple[Phase, ...]:
    """Cut a run into phases.

    Cosine: one. WSD: trunk to the first decay, its branch, trunk to the second decay, its branch, ...
    """
    if plan.recipe.schedule.kind is ScheduleKind.COSINE:
        branch = plan.branches[-1]
        return (Phase(name="run", start=0, end=branch.end, branch=branch, after=None, is_branch_end=True),)
    chain: list[Phase] = []
    trunk, at = None, 0
    stable = Branch(decay_from=plan.steps, end=plan.steps)
    for branch in plan.branches:
        if branch.decay_from > at:
            name = f"trunk-{branch.decay_from}"
            chain.append(Phase(name=name, start=at, end=branch.decay_from, branch=stable, after=trunk, is_branch_end=False))
            trunk, at = name, branch.decay_from
        chain.append(
            Phase(name=f"branch-{branch.end}", start=at, end=branch.end, branch=branch, after=trunk, is_branch_end=True)
        )
    return tuple(chain)


def is_trained(plan: MemberPlan, folder: Path) -> bool:
    """Whether every branch of this very plan ends in a complete checkpoint."""
    return all(find_saved(plan, folder, branch.end) is not None for branch in plan.branches)


def train_member(plan: MemberPlan, inputs: MemberInputs, settings: TrainingSettings, report: Report) -> None:
    """Train what is missing of one member; kept checkpoints carry a `forecast.json`.

    Raises:
        CheckpointError: the loss is no longer a number.
        InputError: the corpus is too small.
    """
    import torch

    torch.set_num_threads(settings.threads)
    if not settings.use_cuda:
        keep_freed_memory()
    state_root = kept_folder(plan, inputs.folder) / ".state" / plan_hash(plan)
    chain = phases(plan)
    for index, phase in enumerate(chain):
        if _is_done(plan, inputs.folder, phase, chain[index + 1 :]):
            report(_skipped(plan, phase.end - phase.start))
            continue
        _train_phase(plan, inputs, settings, report, phase, state_root)
    if is_first_process():
        shutil.rmtree(state_root.parent, ignore_errors=True)


def is_first_process() -> bool:
    """Whether this process writes files (the first of a torchrun, or the only one)."""
    return int(os.environ.get("RANK", "0")) == 0


def _is_done(plan: MemberPlan, folder: Path, phase: Phase, later: tuple[Phase, ...]) -> bool:
    if phase.is_branch_end:
        return find_saved(plan, folder, phase.end) is not None
    # A trunk is needed only while something that starts from it is missing.
    return all(find_saved(plan, folder, entry.end) is not None for entry in later if entry.is_branch_end)


def _skipped(plan: MemberPlan, steps: int) -> StepsDone:
    return StepsDone(member=plan.member.name, steps=steps, loss=None, tokens_per_second=None, mfu=None)


def _train_phase(
    plan: MemberPlan, inputs: MemberInputs, settings: TrainingSettings, report: Report, phase: Phase, state_root: Path
) -> None:
    from forecast.training.trainer import run_phase

    resume = newest_state(state_root / phase.name)
    if resume is None and phase.after is not None:
        resume = newest_state(state_root / phase.after)
        if resume is None:
            raise CheckpointError(
                f"member '{plan.member.name}': the state of phase '{phase.after}' is gone",
                expected=f"a folder under {state_root / phase.after}",
                remedy=f"delete {state_root.parent} and train again",
            )
    done = state_step(resume) if resume is not None else 0
    if done > phase.start:
        report(_skipped(plan, done - phase.start))
    model = _new_model(plan)
    run_phase(plan, inputs, settings, report, phase=phase, model=model, resume=resume, state_folder=state_root / phase.name)


def _new_model(plan: MemberPlan) -> PreTrainedModel:
    from forecast.training.architecture import build_model

    return build_model(plan.recipe, plan.member, vocabulary=plan.vocabulary, end_token=plan.end_token, seed=plan.seed)


COMPLETE_MARK = "complete"
"""Written into a restart state after everything else: a state without it was cut off by a kill."""


def _states(folder: Path) -> Iterator[Path]:
    for path in folder.glob("checkpoint-*"):
        if (path / COMPLETE_MARK).is_file():
            yield path


def state_step(state: Path) -> int:
    """Optimiser steps of a restart state."""
    return int(state.name.rpartition("-")[2])


def newest_state(folder: Path) -> Path | None:
    """Return the furthest complete restart state of a phase."""
    return max(_states(folder), key=state_step, default=None)


def read_losses(member_folder: Path) -> list[dict[str, float]]:
    """Return the training losses that a member logged: step, loss, learning_rate."""
    path = member_folder / "loss.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []
