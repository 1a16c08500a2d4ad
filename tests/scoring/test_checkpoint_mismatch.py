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
from forecast.scoring.checkpoint_files import read_config, weight_files
from forecast.scoring.checkpoint_loading import load_checkpoint


def configure(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, **changes}), encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"num_hidden_layers": 1},
            r"have 12 tensors .* does not take \(gpt_neox.layers.1.*, \.\.\.\)",
        ),
        ({"num_hidden_layers": -1}, "num_hidden_layers is -1; expected a whole number above 0"),
        (
            {"attention_bias": False},
            r"have 4 tensors .* \(gpt_neox.layers.0.attention.dense.bias, .*`allow_unused",
        ),
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


def add_tensors(folder: Path, extra: dict[str, torch.Tensor]) -> Path:
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, **extra}, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_masks_and_frequencies_of_old_files_are_harmless(make_checkpoint: Callable[..., Path]) -> None:
    old = {
        "gpt_neox.layers.0.attention.bias": torch.ones(1, 1, 4, 4),
        "gpt_neox.layers.0.attention.masked_bias": torch.ones(()),
        "gpt_neox.layers.0.attention.rotary_emb.inv_freq": torch.ones(1),
    }
    loaded = load_checkpoint(add_tensors(make_checkpoint("gpt_neox"), old), dtype="float32", device="cpu")
    assert (loaded.params > 0, loaded.unused) == (True, ())


@pytest.mark.parametrize("name", ["optimizer.step", "model.layers.0.self_attn.q_proj.bias", "model.layers.0.attn.bias"])
def test_a_tensor_left_over_is_refused_unless_allowed(name: str, make_checkpoint: Callable[..., Path]) -> None:
    folder = add_tensors(make_checkpoint("llama"), {name: torch.ones(1)})
    with pytest.raises(CheckpointError, match=rf"have 1 tensors that the model of config.json does not take \({name}\)"):
        load_checkpoint(folder, dtype="float32", device="cpu")
    assert load_checkpoint(folder, dtype="float32", device="cpu", allow_unused=True).unused == (name,)


def test_a_missing_tensor_is_never_allowed(make_checkpoint: Callable[..., Path]) -> None:
    folder = make_checkpoint("gpt_neox")
    tensors = load_file(folder / "model.safetensors")
    del tensors["gpt_neox.layers.1.mlp.dense_h_to_4h.weight"]
    save_file({**tensors, "extra": torch.ones(1)}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lack 1 tensors .*layers.1.mlp.dense_h_to_4h.weight\)"):
        load_checkpoint(folder, dtype="float32", device="cpu", allow_unused=True)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_adapter_is_refused_beside_or_instead_of_weights(
    name: str, make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_checkpoint("gpt_neox")
    (folder / name).write_text('{"peft_type": "LORA", "base_model_name_or_path": "lab/base"}')
    with pytest.raises(CheckpointError, match=f"holds an adapter .{name}.*merge it"):
        load_checkpoint(folder, dtype="float32", device="cpu", allow_unused=True)


def test_whole_numbers_are_no_weights_without_their_scales(make_checkpoint: Callable[..., Path]) -> None:
    folder = make_checkpoint("gpt_neox")
    tensors = load_file(folder / "model.safetensors")
    name = "gpt_neox.layers.0.mlp.dense_h_to_4h.weight"
    save_file({**tensors, name: tensors[name].to(torch.int8)}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=rf"hold 1 tensors of whole numbers \({name}\); .*quantization_config"):
        load_checkpoint(folder, dtype="float32", device="cpu")


@pytest.mark.parametrize("kind", ["folder", "broken link"])
def test_what_is_named_like_weights_and_is_no_file_is_not_one(kind: str, make_checkpoint: Callable[..., Path]) -> None:
    folder = make_checkpoint("gpt_neox")
    (folder / "model.safetensors").unlink()
    if kind == "folder":
        (folder / "model.safetensors").mkdir()
    else:
        (folder / "model.safetensors").symlink_to(folder / "nowhere")
    with pytest.raises(CheckpointError, match="has no weights"):
        read_config(folder)


def test_two_spellings_of_a_tied_matrix_are_no_fault(make_checkpoint: Callable[..., Path]) -> None:
    folder = make_checkpoint("gemma")
    matrix = load_file(folder / "model.safetensors")["model.embed_tokens.weight"]
    assert load_checkpoint(add_tensors(folder, {"lm_head.weight": matrix}), dtype="float32", device="cpu").unused == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 10_000_000}, "num_hidden_layers is 10,000,000, and the weights hold 2"),
        ({"vocab_size": 10**11}, r"a model of 6,4\d\d,\d\d\d,\d\d\d,\d\d\d parameters, and the weights hold"),
        ({"hidden_size": 10**6}, "parameters, and the weights hold"),
        ({"vocab_size": 10**30}, "vocab_size is 1000"),
        ({"vocab_size": 0}, "vocab_size is 0; expected a whole number above 0"),
        ({"hidden_size": "32"}, "hidden_size is '32'; expected a whole number"),
        ({"num_attention_heads": True}, "num_attention_heads is True"),
        ({"intermediate_size": 48.5}, "intermediate_size is 48.5"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps is nan; expected a finite number"),
        ({"num_attention_heads": 64}, "config.json"),
        ({"rotary_pct": [0.5]}, r"rotary_pct is \[0.5\]"),
        ({"model_type": ["gpt_neox"]}, "config.json"),
    ],
)
def test_impossible_sizes_are_refused_before_a_module_is_built(
    make_checkpoint: Callable[..., Path], changes: dict[str, object], message: str
) -> None:
    folder = make_checkpoint("gpt_neox")
    configure(folder, **changes)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder, dtype="float32", device="cpu")


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "tokenizer.json", "generation_config.json", "forecast.json"]
)
def test_a_pipe_among_the_files_makes_nobody_wait(name: str, make_checkpoint: Callable[..., Path]) -> None:
    folder = make_checkpoint("gpt_neox")
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    with pytest.raises(CheckpointError, match=f"{name} is a named pipe"):
        read_config(folder)


def test_weights_beside_those_of_the_index_are_not_part_of_the_checkpoint(make_checkpoint: Callable[..., Path]) -> None:
    folder = make_checkpoint("gpt_neox")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    index = {"weight_map": dict.fromkeys(("a", "b"), "model-00001-of-00001.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "consolidated.safetensors").write_bytes(b"another format of the same model")
    assert [path.name for path in weight_files(folder)] == ["model-00001-of-00001.safetensors"]
    index["weight_map"]["c"] = "model-00002-of-00002.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"lacks 1 of the 2 weight files .*00002-of-00002"):
        weight_files(folder)


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
