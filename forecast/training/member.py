"""Trains one member with transformers' Trainer: resumable after a kill, deterministic on one machine, torchrun-able.

A run is a chain of phases; every phase keeps its own restart states, and a finished member has none.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from forecast.core.errors import CheckpointError
from forecast.core.memory_reuse import keep_freed_memory
from forecast.training.checkpoints import find_saved, kept_folder, plan_hash
from forecast.training.events import Report, StepsDone
from forecast.training.phases import Phase, newest_state, phases, state_step
from forecast.training.plan import MemberPlan
from forecast.training.settings import MemberInputs, TrainingSettings, is_first_process

if TYPE_CHECKING:
    from transformers import PreTrainedModel


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


def read_losses(member_folder: Path) -> list[dict[str, float]]:
    """Return the training losses that a member logged: step, loss, learning_rate."""
    path = member_folder / "loss.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []
