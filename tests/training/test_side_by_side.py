"""Members one after the other in this process: whatever one of them raises is its own failure, memory is asked for anew."""

from __future__ import annotations

import pytest
import torch

from forecast.core.errors import CheckpointError
from forecast.training import side_by_side
from forecast.training.side_by_side import Job, train_all


@pytest.fixture(name="jobs")
def jobs_fixture(tiny_family, tmp_path, settings_of):
    plan = tiny_family.plan(tmp_path)
    return [Job(plan=plan, inputs=tiny_family.inputs(tmp_path), settings=settings_of(plan, micro=4))]


def test_out_of_memory_is_tried_again_with_smaller_micro_batches(jobs, monkeypatch):
    tried = []

    def train(plan, inputs, settings, report):
        tried.append((settings.micro_sequences, settings.accumulation))
        if settings.micro_sequences > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 12.00 GiB")

    monkeypatch.setattr(side_by_side, "train_member", train)
    assert train_all(jobs, processes=1, report=print) == {}
    assert tried == [(4, 1), (2, 2), (1, 4)]


def test_memory_for_not_even_one_sequence_is_a_failure(jobs, monkeypatch):
    def train(plan, inputs, settings, report):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")

    monkeypatch.setattr(side_by_side, "train_member", train)
    [message] = train_all(jobs, processes=1, report=print).values()
    assert "can't allocate memory" in message


@pytest.mark.parametrize("error", [RuntimeError("cuBLAS failed"), ValueError("odd"), CheckpointError("the loss became nan")])
def test_a_failed_member_does_not_stop_the_others(jobs, monkeypatch, error):
    trained = []

    def train(plan, inputs, settings, report):
        trained.append(plan)
        if len(trained) == 1:
            raise error

    monkeypatch.setattr(side_by_side, "train_member", train)
    failed = train_all(jobs * 2, processes=1, report=print)
    assert len(trained) == 2
    assert str(error) in failed["tiny-a"]


def test_one_process_trains_on_one_of_several_gpus(tiny_family, tmp_path, settings_of, monkeypatch):
    from transformers import TrainingArguments

    from forecast.training.phases import phases
    from forecast.training.trainer import _arguments

    # What transformers finds on a machine with eight GPUs and no torchrun.
    monkeypatch.setattr(TrainingArguments, "n_gpu", property(lambda self: getattr(self, "_n_gpu", 8) or 8))
    plan = tiny_family.plan(tmp_path)
    arguments = _arguments(plan, settings_of(plan, micro=4), phases(plan)[0], tmp_path)
    assert arguments.n_gpu == 1
    assert arguments.train_batch_size == 4
