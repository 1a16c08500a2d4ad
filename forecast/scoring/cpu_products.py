"""Matrix products on the CPU by the one of torch's two libraries that uses the processor's vector units in full.

Torch sends float32 products to MKL, which keeps to AVX2 on processors that are not Intel's; oneDNN, which torch carries
too, uses AVX-512 where there is any: 250 against 110 GFLOP/s on one core of an AMD EPYC 9005. Both compute in float32.
The choice follows from the processor alone, never from a timing: the same machine gives the same bits.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

ROW_STEP = 16
"""oneDNN builds a kernel for every shape (a millisecond) and keeps a thousand of them (up to a megabyte each): rows of varying
number are filled up to a multiple of this."""


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Return x @ weight.T + bias, as torch.nn.functional.linear: x (..., K), weight (N, K), bias (N,)."""
    if suits(x) and suits(weight) and onednn_is_faster():
        return _onednn(x, weight, bias)
    return functional.linear(x, weight, bias)


@contextmanager
def fast_products(layers: list[Any]) -> Iterator[None]:
    """Have these modules (of `replaceable`) multiply by `linear` for a while."""
    for layer in layers:
        layer.__dict__["forward"] = partial(_forward_transposed if isinstance(layer, Conv1D) else _forward, layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.__dict__["forward"]


def filling(rows: int) -> int:
    """Rows to add to a product of so many, so that few shapes occur; 0 where oneDNN is not used."""
    return -rows % ROW_STEP if onednn_is_faster() else 0


def replaceable(model: torch.nn.Module) -> list[Any]:
    """Linear layers of a model whose product oneDNN would compute faster; none where it would not."""
    found = [
        module
        for module in model.modules()
        if isinstance(module, torch.nn.Linear | Conv1D)
        and type(module) in (torch.nn.Linear, Conv1D)
        and "forward" not in module.__dict__
        and suits(module.weight)
    ]
    return found if found and onednn_is_faster() else []


def _forward(layer: Any, x: torch.Tensor) -> torch.Tensor:
    return linear(x, layer.weight, layer.bias)


def _forward_transposed(layer: Any, x: torch.Tensor) -> torch.Tensor:
    return linear(x, layer.weight.t(), layer.bias)


def suits(tensor: torch.Tensor) -> bool:
    """Whether a product of this tensor may go to oneDNN: float32 on the CPU."""
    return tensor.device.type == "cpu" and tensor.dtype == torch.float32


def _onednn(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    result: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return result


@lru_cache(maxsize=1)
def onednn_is_faster() -> bool:
    """Whether the processor has AVX-512 and is not Intel's."""
    usable = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")  # type: ignore[no-untyped-call]
    wide = usable and torch.backends.cpu.get_cpu_capability() == "AVX512"
    return wide and _vendor() not in ("", "GenuineIntel")


def _vendor() -> str:
    """The processor's maker by CPUID; empty where the system does not tell."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("vendor_id"):
                return line.partition(":")[2].strip()
    identifier = platform.processor()  # on Windows '... Family 25 Model 97, AuthenticAMD'
    return identifier.rpartition(",")[2].strip() if "," in identifier else ""
