"""Training one member: deterministic, resumable to the same curve, decayed branches, and a loss that must stay finite."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from forecast.core.checkpoint_note import read_note
from forecast.core.errors import CheckpointError
from forecast.training.checkpoints import find_saved
from forecast.training.events import CheckpointSaved, StepsDone
from forecast.training.member import is_trained, read_losses, train_member
from forecast.training.phases import phases

WSD = "{kind: wsd, warmup: 0.1, decay: 0.25}"


def weights(folder, step):
    return load_file(folder / "tiny-a" / f"step{step}" / "model.safetensors")


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def run(tiny_family, folder, settings_of, *, report=lambda event: None, seed=0, micro=4, state_every_seconds=1e9, **card):
    folder.mkdir(exist_ok=True)
    plan = tiny_family.plan(folder, seed=seed, **card)
    chosen = settings_of(plan, micro=micro, state_every_seconds=state_every_seconds)
    train_member(plan, tiny_family.inputs(folder), chosen, report)
    return plan


def test_training_learns_and_leaves_checkpoints_that_explain_themselves(tiny_family, tmp_path, settings_of):
    events = []
    plan = run(tiny_family, tmp_path, settings_of, report=events.append)
    losses = read_losses(tmp_path / "tiny-a")
    assert [entry["step"] for entry in losses] == list(range(1, 41))
    assert losses[0]["loss"] == pytest.approx(math.log(plan.vocabulary), rel=0.1)
    assert losses[-1]["loss"] < 0.75 * losses[0]["loss"]
    assert [event.step for event in events if isinstance(event, CheckpointSaved)] == [1, 6, 40]
    assert sum(event.steps for event in events if isinstance(event, StepsDone)) == 40
    note = read_note(tmp_path / "tiny-a" / "step40")
    assert note is not None
    assert (note.family, note.model, note.tokens, note.is_final) == ("tiny", "tiny-a", 5120, True)
    assert note.params == sum(tensor.numel() for tensor in weights(tmp_path, 40).values())
    assert note.flops == 6 * note.params * 5120
    assert note.validation_loss is not None
    assert note.validation_loss < losses[0]["loss"]
    assert note.metadata["seed"] == 0
    half = read_note(tmp_path / "tiny-a" / "step6")
    assert half is not None
    assert not half.is_final
    assert is_trained(plan, tmp_path)
    assert not list((tmp_path / "tiny-a").glob(".state*"))


def test_validation_loss_is_the_mean_over_tokens(tiny_family, tmp_path, settings_of):
    from transformers import AutoModelForCausalLM

    run(tiny_family, tmp_path, settings_of)
    model = AutoModelForCausalLM.from_pretrained(str(tmp_path / "tiny-a" / "step40"), dtype=torch.float64)
    tokens = tiny_family.validation.open()
    total = 0.0
    for sequence in range(16):
        ids = torch.tensor(tokens[sequence * 32 : (sequence + 1) * 32].astype("int64"))
        logp = model(ids[None]).logits[0].log_softmax(-1)
        total += -sum(float(logp[t, ids[t + 1]].detach()) for t in range(31))
    note = read_note(tmp_path / "tiny-a" / "step40")
    assert note is not None
    assert note.validation_loss == pytest.approx(total / (16 * 31), rel=1e-5)


def test_equal_seeds_give_equal_weights_and_other_seeds_do_not(tiny_family, tmp_path, settings_of):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(tiny_family, tmp_path / name, settings_of, seed=seed)
    assert same(weights(tmp_path / "a", 40), weights(tmp_path / "b", 40))
    assert not same(weights(tmp_path / "a", 40), weights(tmp_path / "c", 40))


def test_interrupted_training_goes_on_to_the_same_weights_and_curve(tiny_family, tmp_path, settings_of):
    run(tiny_family, tmp_path / "whole", settings_of)
    saved = []

    def interrupt(event):
        if isinstance(event, CheckpointSaved) and event.step == 6:
            saved.append(event.step)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tiny_family, tmp_path / "cut", settings_of, report=interrupt, state_every_seconds=0.0)
    assert saved == [6]
    plan = run(tiny_family, tmp_path / "cut", settings_of, state_every_seconds=0.0)
    assert same(weights(tmp_path / "whole", 40), weights(tmp_path / "cut", 40))
    assert read_losses(tmp_path / "whole" / "tiny-a") == read_losses(tmp_path / "cut" / "tiny-a")
    assert find_saved(plan, tmp_path / "cut", 40) is not None


def test_restart_state_that_was_cut_off_is_not_used(tiny_family, tmp_path, settings_of):
    def interrupt(event):
        if isinstance(event, CheckpointSaved) and event.step == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tiny_family, tmp_path, settings_of, report=interrupt, state_every_seconds=0.0)
    states = list((tmp_path / "tiny-a" / ".state").glob("*/run/checkpoint-*"))
    assert states
    torn = states[0].with_name("checkpoint-39")
    torn.mkdir()
    (torn / "trainer_state.json").write_text("{", encoding="utf-8")
    run(tiny_family, tmp_path, settings_of)
    assert [entry["step"] for entry in read_losses(tmp_path / "tiny-a")] == list(range(1, 41))


def test_accumulated_micro_batches_give_the_same_training(tiny_family, tmp_path, settings_of):
    run(tiny_family, tmp_path / "one", settings_of)
    run(tiny_family, tmp_path / "four", settings_of, micro=1)
    one, four = weights(tmp_path / "one", 40), weights(tmp_path / "four", 40)
    assert all(torch.allclose(one[name], four[name], atol=2e-3) for name in one)
    left, right = read_losses(tmp_path / "one" / "tiny-a"), read_losses(tmp_path / "four" / "tiny-a")
    assert left[0]["loss"] == pytest.approx(right[0]["loss"], rel=1e-5)


def test_wsd_run_serves_several_budgets(tiny_family, tmp_path, settings_of):
    plan = run(tiny_family, tmp_path, settings_of, schedule=WSD, extra=", branches: [1280, 2560]")
    assert [(phase.name, phase.start, phase.end) for phase in phases(plan)] == [
        ("trunk-8", 0, 8),
        ("branch-10", 8, 10),
        ("trunk-15", 8, 15),
        ("branch-20", 15, 20),
        ("trunk-30", 15, 30),
        ("branch-40", 30, 40),
    ]
    notes = {step: read_note(tmp_path / "tiny-a" / f"step{step}") for step in (10, 20, 40)}
    assert [note.is_final for note in notes.values() if note is not None] == [True] * 3
    by_phase = {}
    for entry in read_losses(tmp_path / "tiny-a"):
        by_phase.setdefault(entry["phase"], []).append(entry)
    assert [entry["step"] for entry in by_phase["trunk-15"]] == list(range(9, 16))
    assert {entry["learning_rate"] for entry in by_phase["trunk-15"]} == {0.01}
    rates = [entry["learning_rate"] for entry in by_phase["branch-20"]]
    assert rates == pytest.approx([0.01, 0.008, 0.006, 0.004, 0.002])


def test_missing_branch_alone_is_trained_again(tiny_family, tmp_path, settings_of):
    import shutil

    card = {"schedule": WSD, "extra": ", branches: [2560]"}
    run(tiny_family, tmp_path, settings_of, **card)
    first = weights(tmp_path, 20)
    shutil.rmtree(tmp_path / "tiny-a" / "step20")
    run(tiny_family, tmp_path, settings_of, **card)
    assert same(first, weights(tmp_path, 20))


def test_llama_trains_too(tiny_family, tmp_path, settings_of):
    run(tiny_family, tmp_path, settings_of, architecture="llama")
    note = read_note(tmp_path / "tiny-a" / "step40")
    assert note is not None
    assert note.params == sum(tensor.numel() for tensor in weights(tmp_path, 40).values())


def test_lost_loss_stops_the_run_and_keeps_what_was_saved(tiny_family, tmp_path, settings_of, monkeypatch):
    import forecast.training.member as training

    build = training._new_model

    def poisoned(plan):
        model = build(plan)
        with torch.no_grad():
            model.get_input_embeddings().weight[3] = float("nan")
        return model

    monkeypatch.setattr(training, "_new_model", poisoned)
    with pytest.raises(CheckpointError, match=r"'tiny-a': the loss became nan at step 1; expected a finite loss; lower its"):
        run(tiny_family, tmp_path, settings_of)
    assert not list((tmp_path / "tiny-a").glob("step*"))


def test_checkpoints_of_another_recipe_are_never_taken_for_this_one(tiny_family, tmp_path, settings_of):
    plan = run(tiny_family, tmp_path, settings_of)
    other = replace(plan, learning_rate=0.5)
    with pytest.raises(CheckpointError, match="another recipe"):
        is_trained(other, tmp_path)
