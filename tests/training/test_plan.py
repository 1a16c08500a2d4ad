"""Numbers of a plan: parameters as the built model has them, laws as published, schedules as drawn."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import pytest

from forecast.catalog.training import Schedule, ScheduleKind, read_recipe
from forecast.core.errors import InputError
from forecast.core.resources import data_folder
from forecast.core.units import FlopsConvention
from forecast.training.architecture import build_model, count_flops, count_parameters
from forecast.training.plan import Branch, choose_micro_sequences, learning_rate_fraction, plan_member

CARD = """\
family: tiny
title: Tiny
training:
  architecture: {architecture}
  context_length: 32
  tie_embeddings: {tied}
  schedule: {schedule}
  members:
    - {{name: tiny-a, hidden_size: 16, layers: 2, heads: 2, tokens: 64000, batch_tokens: 640{extra}}}
"""


def make_recipe(folder: Path, architecture="gpt_neox", tied="false", schedule="{kind: cosine}", extra=""):
    path = folder / "tiny.yaml"
    path.write_text(CARD.format(architecture=architecture, tied=tied, schedule=schedule, extra=extra), encoding="utf-8")
    return read_recipe(path)


@pytest.mark.parametrize("architecture", ["gpt_neox", "llama"])
@pytest.mark.parametrize("tied", ["true", "false"])
def test_parameters_are_those_of_the_built_model(tmp_path, architecture, tied):
    recipe = make_recipe(tmp_path, architecture, tied)
    model = build_model(recipe, recipe.members[0], vocabulary=104, end_token=0, seed=0)
    count = count_parameters(recipe, recipe.members[0], 104)
    assert count.total == sum(parameter.numel() for parameter in model.parameters())
    embeddings = model.get_input_embeddings().weight.numel() * (1 if tied == "true" else 2)
    assert count.non_embedding == count.total - embeddings


def test_pythia_160m_is_counted_as_published(tmp_path):
    recipe = make_recipe(tmp_path)
    member = replace(recipe.members[0], hidden_size=768, layers=12, heads=12, intermediate_size=3072)
    # https://huggingface.co/EleutherAI/pythia-160m: 162,322,944 in all, 85,056,000 without embeddings.
    count = count_parameters(recipe, member, 50304)
    assert (count.total, count.non_embedding) == (162_322_944, 85_056_000)


def test_flops_follow_the_card_s_convention(tmp_path):
    recipe = make_recipe(tmp_path)
    member = recipe.members[0]
    count = count_parameters(recipe, member, 104)
    assert count_flops(recipe, member, count, 10) == 60 * count.total
    other = replace(recipe, flops_convention=FlopsConvention.SIX_ND_NON_EMBEDDING)
    assert count_flops(other, member, count, 10) == 60 * count.non_embedding
    deepseek = replace(recipe, flops_convention=FlopsConvention.DEEPSEEK_MD)
    assert count_flops(deepseek, member, count, 10) == 10 * (72 * 2 * 16 * 16 + 12 * 2 * 16 * 32)


def test_budget_becomes_whole_steps_and_branches(tmp_path):
    recipe = make_recipe(tmp_path, schedule="{kind: wsd, decay: 0.25}", extra=", branches: [16000, 32000]")
    plan = plan_member(recipe, recipe.members[0], vocabulary=104, end_token=0, seed=0)
    assert (plan.batch_sequences, plan.tokens_per_step, plan.steps, plan.tokens) == (20, 640, 100, 64_000)
    assert [(branch.decay_from, branch.end) for branch in plan.branches] == [(19, 25), (38, 50), (75, 100)]
    assert plan.steps_computed == 100 + 6 + 12


def test_default_rate_and_batch_are_deepseek_s(tmp_path):
    recipe = make_recipe(tmp_path)
    member = replace(recipe.members[0], batch_tokens=None)
    compute = (72 * 2 * 16**2 + 12 * 2 * 16 * 32) * 64_000
    plan = plan_member(recipe, member, vocabulary=104, end_token=0, seed=0)
    assert plan.learning_rate == pytest.approx(0.3118 * compute**-0.125)
    assert plan.batch_sequences == round(0.2920 * compute**0.3271 / 32) < 16


def test_cosine_rises_falls_and_ends_at_its_floor():
    schedule = Schedule(kind=ScheduleKind.COSINE, warmup=0.1, floor=0.1)
    branch = Branch(decay_from=0, end=100)
    values = [learning_rate_fraction(schedule, branch, 100, step) for step in range(101)]
    assert values[0] == pytest.approx(0.1)
    assert max(values) == values[9] == values[10] == 1.0
    assert values[100] == pytest.approx(0.1)
    assert all(later <= earlier for earlier, later in itertools.pairwise(values[10:]))


def test_wsd_is_constant_then_linear():
    schedule = Schedule(kind=ScheduleKind.WSD, warmup=0.1, floor=0.0)
    branch = Branch(decay_from=40, end=50)
    values = [learning_rate_fraction(schedule, branch, 100, step) for step in range(51)]
    assert values[10:41] == [1.0] * 31
    assert values[45] == pytest.approx(0.5)
    assert values[50] == 0.0


def test_micro_batch_is_the_largest_divisor_that_fits(tmp_path):
    recipe = make_recipe(tmp_path)
    plan = plan_member(recipe, recipe.members[0], vocabulary=104, end_token=0, seed=0)
    assert choose_micro_sequences(plan, per_device=20, memory_limit_bytes=plan.memory_bytes(20)) == 20
    assert choose_micro_sequences(plan, per_device=20, memory_limit_bytes=plan.memory_bytes(9)) == 5
    with pytest.raises(InputError, match=r"'tiny-a' needs about .* GiB"):
        choose_micro_sequences(plan, per_device=20, memory_limit_bytes=1000)


@pytest.mark.parametrize("name", ["demo", "ladder", "english-small"])
def test_shipped_families_can_be_planned(name):
    recipe = read_recipe(data_folder("models") / f"{name}.yaml")
    plans = [plan_member(recipe, member, vocabulary=50_280, end_token=0, seed=0) for member in recipe.members]
    flops = [plan.flops for plan in plans]
    assert len(plans) >= 8
    assert flops == sorted(flops)
    assert flops[-1] / flops[0] > 10**2.5


def test_a_plan_is_the_same_to_the_last_bit(tmp_path):
    """Learning rates are hashed: a plan that differed by rounding would refuse a family that is half trained."""
    recipe = make_recipe(tmp_path)
    for tokens in (64_000, 1_234_567, 10**9):
        member = replace(recipe.members[0], tokens=tokens, branches=())
        compute = (72 * 2 * 16**2 + 12 * 2 * 16 * 32) * float(tokens)
        plan = plan_member(recipe, member, vocabulary=104, end_token=0, seed=0)
        assert plan.learning_rate == 0.3118 * math.pow(compute, -0.1250)


def test_batches_from_the_law_divide_into_micro_batches_and_among_devices():
    recipe = read_recipe(data_folder("models") / "ladder.yaml")
    for member in recipe.members:
        plan = plan_member(recipe, member, vocabulary=50_280, end_token=0, seed=0)
        per_token = 72 * member.layers * member.hidden_size**2 + 12 * member.layers * member.hidden_size * 512
        law = 0.2920 * (per_token * member.tokens) ** 0.3271 / 512
        if plan.batch_sequences < 16:
            continue
        assert plan.batch_sequences % 8 == 0
        assert plan.batch_sequences == pytest.approx(law, abs=4)
        eighth = plan.batch_sequences // 8
        assert choose_micro_sequences(plan, per_device=8 * eighth, memory_limit_bytes=plan.memory_bytes(2 * eighth)) >= eighth
