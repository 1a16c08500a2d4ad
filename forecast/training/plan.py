"""What training a member will take: steps, learning rate, checkpoints, FLOPs, memory. Pure arithmetic, nothing is built."""

from __future__ import annotations

import math
from dataclasses import dataclass

from forecast.catalog.training import MemberRecipe, Schedule, ScheduleKind, TrainingRecipe
from forecast.core.errors import InputError
from forecast.core.scale import check_scale
from forecast.core.units import deepseek_flops_per_token
from forecast.laws.formulas.deepseek_batch import LAW as BATCH_LAW
from forecast.laws.formulas.deepseek_lr import LAW as RATE_LAW
from forecast.training.architecture import (
    ParameterCount,
    count_flops,
    count_parameters,
    hardware_flops_per_token,
)

_FIRST_CHECKPOINT_SHARE = 1 / 64
"""The first log-spaced checkpoint comes at this share of the run."""
_OPTIMISER_BYTES_PER_PARAMETER = 16
"""float32 weight, gradient and two AdamW moments."""
_ACTIVATION_BYTES_PER_UNIT = 4 * 18
"""float32 values kept for the backward pass, in units of layers x tokens x hidden size: about 18."""
_LOGIT_COPIES = 5
"""float32 arrays of tokens x vocabulary alive at once: logits, their float copy, log-softmax, gradient, and in bfloat16 the
copy that accelerate returns."""
_ROUND_BATCH = 8
"""Batches of twice as many sequences or more are a multiple of this, so that they divide into micro-batches and among devices:
a prime number of sequences could only be computed one by one."""


@dataclass(frozen=True, kw_only=True)
class Branch:
    """One budget of a run: where its learning rate starts to fall, and where it ends. In optimiser steps."""

    decay_from: int
    end: int


@dataclass(frozen=True, kw_only=True)
class MemberPlan:
    """All numbers of one member's training."""

    recipe: TrainingRecipe
    member: MemberRecipe
    vocabulary: int
    """Rows of the embedding, padded."""
    end_token: int
    """Token id that parts documents."""
    seed: int
    """Seed of the initial weights and of the data's order."""
    data_hash: str
    """Hash of corpus and tokenizer; empty while they are not read yet."""
    count: ParameterCount
    batch_sequences: int
    """Sequences per optimiser step, over all devices."""
    learning_rate: float
    """Peak learning rate."""
    branches: tuple[Branch, ...]
    """Budgets, rising; the last one is the whole run."""
    checkpoint_steps: tuple[int, ...]
    """Steps at which a checkpoint is kept, without the branches' ends."""
    flops: float
    """Training FLOPs of the whole run by the card's convention, without the decay branches of smaller budgets."""
    hardware_flops: float
    """FLOPs actually computed, branches included."""

    @property
    def tokens_per_step(self) -> int:
        """Tokens per optimiser step."""
        return self.batch_sequences * self.recipe.context_length

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.branches[-1].end

    @property
    def steps_computed(self) -> int:
        """Optimiser steps computed, the smaller budgets' decays included."""
        return self.steps + sum(branch.end - branch.decay_from for branch in self.branches[:-1])

    @property
    def tokens(self) -> int:
        """Training tokens of the whole run: the card's, rounded to whole steps."""
        return self.steps * self.tokens_per_step

    def flops_at(self, step: int) -> float:
        """Training FLOPs up to `step` by the card's convention."""
        return count_flops(self.recipe, self.member, self.count, step * self.tokens_per_step)

    def memory_bytes(self, micro_sequences: int) -> int:
        """Estimated peak: weights, gradients, AdamW's moments, activations and logits of one micro-batch, in float32."""
        tokens = micro_sequences * self.recipe.context_length
        activations = _ACTIVATION_BYTES_PER_UNIT * self.member.layers * tokens * self.member.hidden_size
        logits = 4 * _LOGIT_COPIES * tokens * self.vocabulary
        return _OPTIMISER_BYTES_PER_PARAMETER * self.count.total + activations + logits


def plan_member(
    recipe: TrainingRecipe, member: MemberRecipe, *, vocabulary: int, end_token: int, seed: int, data_hash: str = ""
) -> MemberPlan:
    """Work out one member's training; `vocabulary` is the padded number of embedding rows.

    Raises:
        InputError: the budget is not one optimiser step.
    """
    context = recipe.context_length
    compute = deepseek_flops_per_token(member.layers, member.hidden_size, context) * member.tokens
    if member.batch_tokens:
        batch = max(1, round(member.batch_tokens / context))
    else:
        batch = _divisible(BATCH_LAW.printed_value(compute) / context)
    steps = round(member.tokens / (batch * context))
    if steps < 1:
        raise InputError(
            f"{recipe.path}, line {member.line}: member '{member.name}' has {member.tokens} tokens",
            expected=f"at least one step of {batch * context} tokens",
            remedy="raise tokens or lower batch_tokens",
        )
    count = count_parameters(recipe, member, vocabulary)
    place = f"{recipe.path}, line {member.line}: member '{member.name}'"
    check_scale(place, params=count.total, error=InputError)
    check_scale(place, tokens=steps * batch * context, error=InputError)
    budgets = [round(budget / (batch * context)) for budget in member.branches] + [steps]
    branches = tuple(_branch(recipe.schedule, max(1, budget)) for budget in budgets)
    per_token = hardware_flops_per_token(recipe, member, count, vocabulary)
    computed = steps + sum(branch.end - branch.decay_from for branch in branches[:-1])
    return MemberPlan(
        recipe=recipe,
        member=member,
        vocabulary=vocabulary,
        end_token=end_token,
        seed=seed,
        data_hash=data_hash,
        count=count,
        batch_sequences=batch,
        learning_rate=recipe.learning_rate_scale * (member.learning_rate or RATE_LAW.printed_value(compute)),
        branches=branches,
        checkpoint_steps=log_spaced_steps(recipe.checkpoints, branches[-1]),
        flops=count_flops(recipe, member, count, steps * batch * context),
        hardware_flops=per_token * computed * batch * context,
    )


def _divisible(sequences: float) -> int:
    """Round a batch that a law gives, of which a few per cent more or less make no difference.

    >>> _divisible(3.2), _divisible(15.4), _divisible(229.0)
    (3, 15, 232)
    """
    if sequences < 2 * _ROUND_BATCH:
        return max(1, round(sequences))
    return _ROUND_BATCH * math.floor(sequences / _ROUND_BATCH + 0.5)


def _branch(schedule: Schedule, end: int) -> Branch:
    if schedule.kind is ScheduleKind.COSINE:
        return Branch(decay_from=0, end=end)
    return Branch(decay_from=max(0, end - max(1, round(schedule.decay * end))), end=end)


def log_spaced_steps(count: int, last: Branch) -> tuple[int, ...]:
    """Return the steps of `count` log-spaced checkpoints up to the last branch's end, the end itself left out.

    >>> log_spaced_steps(4, Branch(decay_from=0, end=640))
    (10, 40, 160)
    """
    first = max(1.0, last.end * _FIRST_CHECKPOINT_SHARE)
    ratio = (last.end / first) ** (1 / max(1, count - 1))
    steps = {round(first * ratio**index) for index in range(count - 1)}
    return tuple(sorted(step for step in steps if 0 < step < last.end))


def learning_rate_fraction(schedule: Schedule, branch: Branch, total_steps: int, step: int) -> float:
    """Learning rate over its peak for the step after `step` finished ones.

    Warm-up rises linearly over `warmup` of the whole run. Cosine: f + (1 - f) (1 + cos(pi t)) / 2 with t the share of the
    remaining steps; WSD: 1 until `branch.decay_from`, then linear to f at `branch.end`.
    """
    warmup = max(1, math.ceil(schedule.warmup * total_steps))
    rise = min(1.0, (step + 1) / warmup)
    if schedule.kind is ScheduleKind.COSINE:
        progress = min(1.0, max(0.0, (step - warmup) / max(1, total_steps - warmup)))
        return rise * (schedule.floor + (1.0 - schedule.floor) * 0.5 * (1.0 + math.cos(math.pi * progress)))
    if step < branch.decay_from:
        return rise
    progress = min(1.0, (step - branch.decay_from) / max(1, branch.end - branch.decay_from))
    return rise * (1.0 - (1.0 - schedule.floor) * progress)


def choose_micro_sequences(plan: MemberPlan, *, per_device: int, memory_limit_bytes: float) -> int:
    """Return the largest divisor of `per_device` sequences whose step fits the memory.

    Raises:
        InputError: not even one sequence fits.
    """
    for micro in range(per_device, 0, -1):
        if per_device % micro == 0 and plan.memory_bytes(micro) <= memory_limit_bytes:
            return micro
    raise InputError(
        f"member '{plan.member.name}' needs about {plan.memory_bytes(1) / 2**30:.2f} GiB to train",
        expected=f"at most the {memory_limit_bytes / 2**30:.2f} GiB that are free",
        remedy="lower hidden_size, layers or context_length, or use a larger machine",
    )
