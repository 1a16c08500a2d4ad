"""Quantised variants: kept apart by name; a missing library is named; with torchao installed the numbers stay close."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers

from forecast.api.evaluate import evaluate
from forecast.core.errors import CheckpointError, UsageError
from forecast.core.progress import SilentProgress
from forecast.core.records import CheckpointRequest
from forecast.scoring import quantization
from forecast.scoring.checkpoint_loading import load_checkpoint
from forecast.scoring.quantization import Quantization, quantize_model, settle_quantization


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    names: set[str] = set()
    monkeypatch.setattr(quantization, "_is_installed", lambda name: name in names)
    return names


@pytest.mark.parametrize(
    ("asked", "present", "library"),
    [
        ("int8", {"torchao", "bitsandbytes"}, "torchao"),
        ("int8", {"bitsandbytes"}, "bitsandbytes"),
        ("int4", {"torchao", "bitsandbytes"}, "bitsandbytes"),
        ("int4-torchao", {"torchao", "bitsandbytes"}, "torchao"),
    ],
)
def test_the_first_installed_library_is_taken(installed: set[str], asked: str, present: set[str], library: str) -> None:
    installed |= present
    assert settle_quantization(asked) == Quantization(scheme=asked[:4], library=library)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("int8", "needs torchao or bitsandbytes, and neither is installed.*pip install torchao"),
        ("int4-bitsandbytes", "needs bitsandbytes, and it is not installed.*pip install bitsandbytes"),
        ("int3", "`quantize=` int3; expected int8, int4"),
        ("int8-gptq", "`quantize=` int8-gptq; expected"),
    ],
)
def test_what_cannot_be_done_is_a_usage_error(installed: set[str], asked: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        settle_quantization(asked)


def test_variants_are_members_of_their_own(
    make_checkpoint: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in for the library, which rounds the weights itself: three data types, three runs."""

    def rounding(_scheme: str) -> Callable[[torch.nn.Linear], torch.nn.Module]:
        def replace(layer: torch.nn.Linear) -> torch.nn.Module:
            layer.weight.data = (layer.weight.data * 8).round() / 8
            return layer

        return replace

    monkeypatch.setitem(quantization._LIBRARIES, "torchao", rounding)
    monkeypatch.setattr(Quantization, "library_version", "0.0")
    monkeypatch.setattr(quantization, "_is_installed", lambda name: True)
    text = tmp_path / "note.txt"
    text.write_text("the cat sat on the mat", encoding="utf-8")
    requests = [CheckpointRequest(source=str(make_checkpoint("gpt_neox", seed=seed))) for seed in (0, 1)]
    found: dict[str, list[float]] = {}
    for dtype, quantize in (("float32", None), ("bfloat16", None), ("float32", "int8")):
        report = evaluate(
            requests,
            tasks=[],
            text_files=[text],
            db=tmp_path / "x.duckdb",
            dtype=dtype,
            quantize=quantize,
            progress=SilentProgress(),
        )
        report.raise_failures()
        for row in report.rows:
            found.setdefault(str(row["dtype"]), []).append(float(str(row["nll_per_token"])))
    assert set(found) == {"float32", "bfloat16", "int8-torchao-float32"}
    # The second checkpoint was quantised as well, not filled into the first one's module.
    for plain, rounded in zip(found["float32"], found["int8-torchao-float32"], strict=True):
        assert rounded != pytest.approx(plain, abs=1e-4)
        assert rounded == pytest.approx(plain, abs=1.0)


def test_a_refusal_of_the_library_is_explained(make_checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(_scheme: str) -> Callable[[torch.nn.Linear], torch.nn.Module]:
        raise RuntimeError("no kernel for this machine")

    monkeypatch.setitem(quantization._LIBRARIES, "torchao", refusing)
    monkeypatch.setattr(Quantization, "library_version", "0.0")
    checkpoint = load_checkpoint(make_checkpoint("gpt_neox"), dtype="float32", device="cpu")
    with pytest.raises(CheckpointError, match=r"cannot quantise.*no kernel for this machine.*int8-bitsandbytes"):
        quantize_model(checkpoint.model, Quantization(scheme="int8", library="torchao"))


def test_gpt2s_transposed_layers_are_turned_round() -> None:
    layer = transformers.pytorch_utils.Conv1D(5, 3)
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(quantization._as_linear(layer)(x), layer(x))


@pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="optional package torchao is not installed")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("scheme", ["int8", "int4"])
def test_torchao_stays_close_to_the_full_model(make_checkpoint: Callable[..., Path], scheme: str) -> None:
    checkpoint = load_checkpoint(make_checkpoint("llama"), dtype="float32", device="cpu")
    tokens = torch.arange(20)[None]
    with torch.inference_mode():
        before = checkpoint.model(input_ids=tokens).logits
        quantize_model(checkpoint.model, Quantization(scheme=scheme, library="torchao"))
        after = checkpoint.model(input_ids=tokens).logits
    assert 0 < float((after - before).abs().mean()) < {"int8": 0.05, "int4": 0.8}[scheme]
