"""Re-filling a module gives what loading afresh gives, and never a mixture; identities follow content."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from forecast.core.errors import CheckpointError
from forecast.scoring import checkpoint_sweep
from forecast.scoring.checkpoint_files import checkpoint_identity, read_config, tokenizer_identity
from forecast.scoring.checkpoint_loading import load_checkpoint
from forecast.scoring.checkpoint_sweep import CheckpointSweep


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(1, 30)[None]).logits


@pytest.mark.parametrize("architecture", ["gpt_neox", "llama", "gpt2", "gemma2"])
def test_a_refilled_module_computes_what_a_fresh_one_does(
    architecture: str, make_checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [make_checkpoint(architecture, seed=seed) for seed in (0, 1)]
    fresh = [logits(load_checkpoint(folder, dtype="float32", device="cpu").model) for folder in folders]
    sweep = CheckpointSweep(dtype="float32", device="cpu")
    loads: list[Path] = []

    def counted(folder: Path, **settings: str) -> object:
        loads.append(folder)
        return load_checkpoint(folder, **settings)

    monkeypatch.setattr(checkpoint_sweep, "load_checkpoint", counted)
    for folder, expected in zip([*folders, folders[0]], [*fresh, fresh[0]], strict=True):
        assert torch.equal(logits(sweep.open(folder).model), expected)
    assert loads == folders[:1]


def test_another_architecture_or_size_is_loaded_afresh(make_checkpoint: Callable[..., Path]) -> None:
    sweep = CheckpointSweep(dtype="float32", device="cpu")
    folders = [make_checkpoint("gpt_neox"), make_checkpoint("gpt_neox", window=64), make_checkpoint("llama")]
    for folder in folders:
        expected = logits(load_checkpoint(folder, dtype="float32", device="cpu").model)
        assert torch.equal(logits(sweep.open(folder).model), expected)


def test_a_corrupt_checkpoint_between_two_good_ones_leaves_no_trace(
    make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    good, other = make_checkpoint("gpt_neox"), make_checkpoint("gpt_neox", seed=1)
    corrupt = Path(shutil.copytree(other, tmp_path / "corrupt"))
    content = (corrupt / "model.safetensors").read_bytes()
    (corrupt / "model.safetensors").write_bytes(content[:-100])
    sweep = CheckpointSweep(dtype="float32", device="cpu")
    sweep.open(good)
    with pytest.raises(CheckpointError, match="corrupt"):
        sweep.open(corrupt)
    expected = logits(load_checkpoint(other, dtype="float32", device="cpu").model)
    assert torch.equal(logits(sweep.open(other).model), expected)


def test_missing_tensors_are_not_filled_with_chance(make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    good = make_checkpoint("gpt_neox")
    lacking = Path(shutil.copytree(good, tmp_path / "lacking"))
    state = load_file(lacking / "model.safetensors")
    del state["gpt_neox.layers.1.mlp.dense_h_to_4h.weight"]
    save_file(state, lacking / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="lack 1 tensors"):
        load_checkpoint(lacking, dtype="float32", device="cpu")
    sweep = CheckpointSweep(dtype="float32", device="cpu")
    sweep.open(good)
    with pytest.raises(CheckpointError, match="lack 1 tensors"):
        sweep.open(lacking)


def test_a_tensor_left_over_is_found_on_the_refilling_path_too(make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    good = make_checkpoint("gpt_neox")
    extra = Path(shutil.copytree(make_checkpoint("gpt_neox", seed=1), tmp_path / "extra"))
    state = load_file(extra / "model.safetensors")
    save_file({**state, "gpt_neox.layers.0.lora_A": torch.ones(1)}, extra / "model.safetensors", metadata={"format": "pt"})
    sweep = CheckpointSweep(dtype="float32", device="cpu")
    sweep.open(good)
    with pytest.raises(CheckpointError, match=r"have 1 tensors that the model of config.json does not take"):
        sweep.open(extra)
    tolerant = CheckpointSweep(dtype="float32", device="cpu", allow_unused=True)
    tolerant.open(good)
    assert tolerant.open(extra).unused == ("gpt_neox.layers.0.lora_A",)
    # The next one is no longer compared with what the tolerated one left out.
    assert tolerant.open(good).unused == ()
    assert tolerant.open(extra).unused == ("gpt_neox.layers.0.lora_A",)


def test_identity_follows_weights_configuration_and_tokenizer_and_nothing_else(
    make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_checkpoint("gpt_neox")
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "README.md").write_text("read me")
    assert checkpoint_identity(copy) == checkpoint_identity(folder)
    assert tokenizer_identity(copy) == tokenizer_identity(folder)
    assert checkpoint_identity(make_checkpoint("gpt_neox", seed=1)) != checkpoint_identity(folder)
    tokenizer = copy / "tokenizer.json"
    whole = tokenizer.read_text(encoding="utf-8")
    tokenizer.write_text(whole + "\n")
    assert checkpoint_identity(copy) != checkpoint_identity(folder)
    assert checkpoint_identity(copy, "abc", "org/model") == checkpoint_identity(folder, "abc", "org/model")
    tokenizer.write_text(whole)
    config = read_config(copy)
    (copy / "config.json").write_text(json.dumps({**config, "rotary_pct": 0.5}))
    assert checkpoint_identity(copy) != checkpoint_identity(folder)
    assert checkpoint_identity(folder, "abc", "org/model") != checkpoint_identity(folder, "abd", "org/model")


def test_a_large_files_hash_is_remembered_until_the_file_changes(
    make_checkpoint: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from forecast.scoring import checkpoint_files

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(checkpoint_files, "_CACHED_FROM_BYTES", 1)
    folder = Path(shutil.copytree(make_checkpoint("gpt_neox"), tmp_path / "model"))
    first = checkpoint_identity(folder)
    honest = checkpoint_files.file_hash
    monkeypatch.setattr(checkpoint_files, "file_hash", lambda _: pytest.fail("read again"))
    assert checkpoint_identity(folder) == first
    monkeypatch.setattr(checkpoint_files, "file_hash", honest)
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(bytes(weights))
    assert checkpoint_identity(folder) != first
