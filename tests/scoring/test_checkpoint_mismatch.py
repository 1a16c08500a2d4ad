"""Weights that are not those of config.json: a wrong number would be worse than an error."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from forecast.core.errors import CheckpointError
from forecast.scoring.checkpoint_loading import load_checkpoint


def configure(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, **changes}), encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 1}, r"layers that config.json does not count \(gpt_neox.layers.1"),
        ({"num_hidden_layers": 3}, r"lack 12 tensors of the architecture \(gpt_neox.layers.2"),
        ({"vocab_size": 999}, r"2 tensors .* another shape .*\(320, 32\); expected \(999, 32\)"),
        ({"max_position_embeddings": 0}, "window of 0 tokens"),
    ],
)
def test_a_configuration_of_another_model_is_refused(
    make_checkpoint: Callable[..., Path], changes: dict[str, object], message: str
) -> None:
    folder = make_checkpoint("gpt_neox")
    configure(folder, **changes)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder, dtype="float32", device="cpu")


def test_tensors_that_no_layer_uses_are_harmless(make_checkpoint: Callable[..., Path]) -> None:
    folder = make_checkpoint("gpt_neox")
    tensors = load_file(folder / "model.safetensors")
    extra = {"gpt_neox.layers.0.attention.bias": torch.ones(1, 1, 4, 4), "optimizer.step": torch.ones(1)}
    save_file({**tensors, **extra}, folder / "model.safetensors", metadata={"format": "pt"})
    assert load_checkpoint(folder, dtype="float32", device="cpu").params > 0


class _RunsCode:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def test_pickled_code_is_refused_and_not_run(make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_checkpoint("gpt_neox")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(_RunsCode(tmp_path / "mark"), protocol=2))
    with pytest.raises(CheckpointError, match=r"hold more than tensors.*safetensors files"):
        load_checkpoint(folder, dtype="float32", device="cpu")
    assert not (tmp_path / "mark").exists()
