"""How fast a device multiplies matrices: the ceiling that utilisation is measured against."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


def fastest_product(
    multiply: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    *,
    size: int,
    dtype: torch.dtype,
    device: str,
    repeats: int,
) -> float:
    """Return FLOP/s of the fastest of several products of two square matrices; a multiply-add counts 2."""
    left = torch.ones((size, size), dtype=dtype, device=device)
    best = float("inf")
    for _ in range(repeats):
        _wait(device)
        started = time.perf_counter()
        multiply(left, left)
        _wait(device)
        best = min(best, time.perf_counter() - started)
    return 2.0 * size**3 / best


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
