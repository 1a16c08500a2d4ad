"""Matrix products on the CPU by the faster of torch's two libraries, as measured on this machine.

Torch sends float32 products to MKL, which keeps to AVX2 on processors that are not Intel's; oneDNN, which torch carries
too, uses what the processor has: 250 against 110 GFLOP/s on one core of an AMD EPYC 9005. Both compute in float32 throughout.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any

import torch
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

_ROWS, _INNER, _COLUMNS = 256, 512, 512
"""Shape of the product that the two libraries are timed on: about a millisecond."""
_TIMINGS = 5
_WORTHWHILE = 0.9
"""oneDNN is taken where it needs less than this share of the other's time."""


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Return x @ weight.T + bias, as torch.nn.functional.linear: x (..., K), weight (N, K), bias (N,)."""
    if _suits(x) and _suits(weight) and _onednn_is_faster():
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


def replaceable(model: torch.nn.Module) -> list[Any]:
    """Linear layers of a model whose product oneDNN would compute faster; none where it would not."""
    found = [
        module
        for module in model.modules()
        if type(module) in (torch.nn.Linear, Conv1D) and "forward" not in module.__dict__ and _suits(module.weight)
    ]
    return found if found and _onednn_is_faster() else []


def _forward(layer: Any, x: torch.Tensor) -> torch.Tensor:
    return linear(x, layer.weight, layer.bias)


def _forward_transposed(layer: Any, x: torch.Tensor) -> torch.Tensor:
    return linear(x, layer.weight.t(), layer.bias)


def _suits(tensor: torch.Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.dtype == torch.float32


def _onednn(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    result: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return result


@lru_cache(maxsize=1)
def _onednn_is_faster() -> bool:
    """Time both libraries once per process."""
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    x, weight = torch.ones((_ROWS, _INNER)), torch.ones((_COLUMNS, _INNER))
    try:
        onednn = _best_time(lambda: _onednn(x, weight, None))
    except (RuntimeError, NotImplementedError):
        return False
    return onednn < _WORTHWHILE * _best_time(lambda: functional.linear(x, weight))


def _best_time(product: Callable[[], torch.Tensor]) -> float:
    """Seconds of the fastest of several calls, after one to warm up."""
    product()
    best = float("inf")
    for _ in range(_TIMINGS):
        started = time.perf_counter()
        product()
        best = min(best, time.perf_counter() - started)
    return best
