"""A repository's own Python files: left alone unless the user named that model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from forecast.core.errors import CheckpointError
from forecast.core.records import CheckpointRequest
from forecast.hub import Fetcher

CODE = """\
import pathlib
pathlib.Path({marker!r}).touch()
from transformers import LlamaConfig, LlamaForCausalLM

class OddConfig(LlamaConfig):
    model_type = "odd_llama"

class OddForCausalLM(LlamaForCausalLM):
    config_class = OddConfig
"""


@pytest.fixture
def published(hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that only its own code can load; loading it leaves a mark."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaForCausalLM, dynamic_module_utils

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    torch.manual_seed(0)
    folder = tmp_path / "odd"
    LlamaForCausalLM(
        LlamaConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    ).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "odd_llama",
        "architectures": ["OddForCausalLM"],
        "auto_map": {"AutoConfig": "modeling_odd.OddConfig", "AutoModelForCausalLM": "modeling_odd.OddForCausalLM"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    marker = tmp_path / "code-has-run"
    (folder / "modeling_odd.py").write_text(CODE.format(marker=str(marker)))
    Tokenizer(models.WordLevel({"a": 0, "b": 1, "[UNK]": 2}, unk_token="[UNK]")).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    hub.add_folder("lab/odd", "main", folder)
    return marker


def test_untrusted_code_is_neither_fetched_nor_run(hub, published: Path, tmp_path: Path) -> None:
    from forecast.scoring.checkpoint_loading import load_checkpoint

    request = CheckpointRequest(source="lab/odd")
    fetcher = Fetcher(cache_folder=tmp_path / "cache", endpoint=hub.endpoint, trust_remote_code=["lab/other"])
    folder = fetcher.fetch(request)
    assert not fetcher.trusts(request)
    assert not list(folder.glob("*.py"))
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_checkpoint(folder, dtype="float32", device="cpu", trust_remote_code=fetcher.trusts(request))
    # Also where the code lies beside the weights already.
    with pytest.raises(CheckpointError, match="name the model with `trust_remote_code=`"):
        load_checkpoint(tmp_path / "odd", dtype="float32", device="cpu")
    assert not published.exists()


def test_code_of_a_named_model_is_fetched_and_run(hub, published: Path, tmp_path: Path) -> None:
    from forecast.scoring.checkpoint_loading import load_checkpoint

    request = CheckpointRequest(source="lab/odd")
    fetcher = Fetcher(cache_folder=tmp_path / "cache", endpoint=hub.endpoint, trust_remote_code=["lab/odd"])
    loaded = load_checkpoint(fetcher.fetch(request), dtype="float32", device="cpu", trust_remote_code=fetcher.trusts(request))
    assert type(loaded.model).__name__ == "OddForCausalLM"
    assert loaded.architecture == "odd_llama"
    assert published.exists()
    (tmp_path / "here").mkdir()
    local = Fetcher(trust_remote_code=[str(tmp_path / "here") + "/"])
    assert local.trusts(CheckpointRequest(source=str(tmp_path / "here")))
