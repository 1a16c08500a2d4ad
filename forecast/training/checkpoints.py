"""Checkpoint folders of a family: `<family folder>/<member>/step<N>`, complete or absent, each with its `forecast.json`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from forecast.core.checkpoint_note import CheckpointNote, read_note, write_note
from forecast.core.errors import CheckpointError
from forecast.core.hashing import content_hash
from forecast.training.plan import MemberPlan

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def kept_folder(plan: MemberPlan, folder: Path) -> Path:
    """Folder of a member's checkpoints."""
    return folder / plan.member.name


def plan_hash(plan: MemberPlan) -> str:
    """Hash of all that decides a member's weights but the machine."""
    recipe, member = plan.recipe, plan.member
    return content_hash(
        {
            "architecture": recipe.architecture.value,
            "shape": [member.hidden_size, member.layers, member.heads, member.intermediate_size, plan.vocabulary],
            "context": recipe.context_length,
            "tied": recipe.tie_embeddings,
            "rotary": recipe.rotary_fraction,
            "initializer": recipe.initializer_range,
            "schedule": [recipe.schedule.kind.value, recipe.schedule.warmup, recipe.schedule.floor, recipe.schedule.decay],
            "optimizer": [plan.learning_rate, recipe.weight_decay, recipe.beta2, recipe.clip_norm],
            "batch": plan.batch_sequences,
            "steps": plan.steps,
            "seed": plan.seed,
            "data": plan.data_hash,
        }
    )


def find_saved(plan: MemberPlan, folder: Path, step: int) -> Path | None:
    """Return the complete checkpoint of `step`.

    Raises:
        CheckpointError: the folder holds a checkpoint of another plan.
    """
    path = kept_folder(plan, folder) / f"step{step}"
    note = read_note(path) if path.is_dir() else None
    if note is None:
        return None
    if note.metadata.get("plan_hash") != plan_hash(plan):
        raise CheckpointError(
            f"{path} was trained by another recipe, seed, corpus or tokenizer",
            expected="one recipe, seed, corpus and tokenizer per family folder",
            remedy="name another `output=` folder or delete this one",
        )
    return path


def save_checkpoint(
    model: PreTrainedModel,
    plan: MemberPlan,
    folder: Path,
    *,
    step: int,
    is_final: bool,
    lr_fraction: float,
    validation_loss: float | None,
    tokenizer: Path,
) -> Path:
    """Write weights, config, tokenizer and note under a temporary name, then rename."""
    path = kept_folder(plan, folder) / f"step{step}"
    partial = path.with_name(path.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    model.save_pretrained(str(partial))
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        if (tokenizer / name).is_file():
            shutil.copyfile(tokenizer / name, partial / name)
    note = CheckpointNote(
        family=plan.recipe.family,
        model=plan.member.name,
        step=step,
        params=plan.count.total,
        params_non_embedding=plan.count.non_embedding,
        tokens=step * plan.tokens_per_step,
        flops=plan.flops_at(step),
        flops_convention=plan.recipe.flops_convention.value,
        is_final=is_final,
        validation_loss=validation_loss,
        metadata={
            "plan_hash": plan_hash(plan),
            "data_hash": plan.data_hash,
            "seed": plan.seed,
            "learning_rate": plan.learning_rate,
            "lr_fraction": lr_fraction,
            "schedule": plan.recipe.schedule.kind.value,
            "batch_tokens": plan.tokens_per_step,
            "context_length": plan.recipe.context_length,
        },
    )
    write_note(partial, note)
    shutil.rmtree(path, ignore_errors=True)
    partial.replace(path)
    return path
