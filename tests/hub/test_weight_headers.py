"""Parameters counted from headers, against torch's own count."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path

import pytest

from forecast.core.errors import CheckpointError
from forecast.hub.weight_headers import count_parameters

SIZES = {
    "vocab_size": 64,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
}
GPT2_SIZES = {"vocab_size": 64, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 40, "rotary_dim": 4}
CONFIGS = {
    "gpt_neox": SIZES,
    "gpt2": GPT2_SIZES,
    "gptj": GPT2_SIZES,
    "codegen": {**GPT2_SIZES, "n_head": 4},
    "gpt_neo": {
        "vocab_size": 64,
        "hidden_size": 16,
        "num_layers": 2,
        "num_heads": 2,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 4,
        "max_position_embeddings": 40,
    },
    "gpt_bigcode": GPT2_SIZES,
    "llama": SIZES,
    "llama-tied": {**SIZES, "tie_word_embeddings": True},
    "mistral": {**SIZES, "num_key_value_heads": 1},
    "olmo": SIZES,
    "olmo2": SIZES,
    "qwen2": {**SIZES, "num_key_value_heads": 1},
    "qwen3": {**SIZES, "num_key_value_heads": 1, "head_dim": 8},
    "gemma": {**SIZES, "head_dim": 8, "num_key_value_heads": 1},
    "phi": SIZES,
    "opt": {**SIZES, "ffn_dim": 32, "word_embed_proj_dim": 8},
    "bloom": {"vocab_size": 64, "hidden_size": 16, "n_layer": 2, "n_head": 2},
    "falcon": {**SIZES, "multi_query": True},
    "stablelm": SIZES,
    "mamba": {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4},
    "mamba-square": {"vocab_size": 32, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
    "rwkv": {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2, "attention_hidden_size": 16},
    "bert": SIZES,
    "roberta": SIZES,
}


def build(name: str):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(name.partition("-")[0], **CONFIGS[name])
    masked = name in {"bert", "roberta"}
    return (AutoModelForMaskedLM if masked else AutoModelForCausalLM).from_config(config)


@pytest.mark.parametrize("name", list(CONFIGS))
def test_the_headers_count_is_torchs(name: str, tmp_path: Path) -> None:
    import torch

    model = build(name)
    model.save_pretrained(tmp_path)
    counted = count_parameters(tmp_path)
    embeddings = {module.weight for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    embeddings.add(model.get_output_embeddings().weight)
    assert counted is not None
    assert counted.total == sum(parameter.numel() for parameter in model.parameters())
    assert counted.non_embedding == counted.total - sum(matrix.numel() for matrix in embeddings)


def write_safetensors(path: Path, tensors: dict[str, tuple[str, list[int], bytes]]) -> None:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    body = b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(content)]}
        body += content
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def test_buffers_of_old_files_and_a_stored_tied_head_are_not_counted(tmp_path: Path) -> None:
    write_safetensors(
        tmp_path / "model.safetensors",
        {
            "gpt_neox.embed_in.weight": ("F16", [4, 2], b"abcdefgh" * 2),
            "embed_out.weight": ("F16", [4, 2], b"abcdefgh" * 2),
            "gpt_neox.layers.0.attention.bias": ("BOOL", [1, 1, 2, 2], b"\1\0\1\1"),
            "gpt_neox.layers.0.attention.masked_bias": ("F16", [], b"\0\0"),
            "gpt_neox.layers.0.attention.rotary_emb.inv_freq": ("F16", [1], b"\0\0"),
            "gpt_neox.layers.0.attention.dense.bias": ("F16", [2], b"\0\0\0\0"),
        },
    )
    counted = count_parameters(tmp_path)
    assert counted is not None
    assert (counted.total, counted.non_embedding) == (8 + 2, 2)


def test_shards_add_up(tmp_path: Path) -> None:
    model = build("llama")
    model.save_pretrained(tmp_path, max_shard_size="8KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    counted = count_parameters(tmp_path)
    assert counted is not None
    assert counted.total == sum(parameter.numel() for parameter in model.parameters())


def test_quantised_weights_are_not_guessed_at(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "model.safetensors", {"model.layers.0.mlp.qweight": ("I32", [2, 2], b"\0" * 16)})
    assert count_parameters(tmp_path) is None


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "llama-tied", "opt"])
def test_pickled_weights_count_alike_without_being_run(name: str, tmp_path: Path) -> None:
    import torch

    model = build(name)
    model.save_pretrained(tmp_path)
    expected = count_parameters(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    state = model.state_dict()
    names = list(state)
    torch.save({key: state[key] for key in names[: len(names) // 2]}, tmp_path / "pytorch_model-00001-of-00002.bin")
    torch.save({key: state[key] for key in names[len(names) // 2 :]}, tmp_path / "pytorch_model-00002-of-00002.bin")
    if name == "gpt_neox":  # untied: no matrix lies in both files
        assert count_parameters(tmp_path) == expected
    for shard in tmp_path.glob("pytorch_model*.bin"):
        shard.unlink()
    torch.save(state, tmp_path / "pytorch_model.bin")
    assert count_parameters(tmp_path) == expected


def test_a_pickle_that_names_anything_else_is_refused_and_not_run(tmp_path: Path) -> None:
    import os
    import zipfile

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'run'}",)

    with zipfile.ZipFile(tmp_path / "pytorch_model.bin", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weight": Evil()}))
    with pytest.raises(CheckpointError, match="which weights do not need"):
        count_parameters(tmp_path)
    assert not (tmp_path / "run").exists()
    with zipfile.ZipFile(tmp_path / "pytorch_model.bin", "w") as archive:
        archive.writestr("archive/data.pkl", b"not a pickle")
    with pytest.raises(CheckpointError, match="does not hold plain weights"):
        count_parameters(tmp_path)
    import torch

    torch.save({"weight": torch.zeros(2, dtype=torch.uint16)}, tmp_path / "pytorch_model.bin")
    assert count_parameters(tmp_path) is None
    (tmp_path / "pytorch_model.bin").write_bytes(b"an older format")
    assert count_parameters(tmp_path) is None


@pytest.mark.parametrize(
    "content", [b"", b"\x05", b"\xff" * 16, struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 9) + b'{"a": {}}']
)
def test_malformed_files_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        count_parameters(tmp_path)


def test_a_file_that_is_cut_short_is_named(tmp_path: Path) -> None:
    build("gpt_neox").save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(CheckpointError, match=r"bytes; expected"):
        count_parameters(tmp_path)
