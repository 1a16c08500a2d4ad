"""What `--device auto` and `--dtype auto` mean; torch is only imported where there could be an accelerator."""

from __future__ import annotations

from pathlib import Path

from forecast.core.errors import UsageError

DTYPE_NAMES = ("float32", "bfloat16", "float16", "float64")
_ACCELERATOR_NODES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd", "/dev/nvhost-ctrl", "/dev/nvmap")
"""NVIDIA, Windows' subsystem for Linux, AMD, Jetson: where none of them is, torch sees no CUDA device either."""


def settle_device(device: str) -> str:
    """Return the device that `auto` means.

    Raises:
        UsageError: the device is unknown or not there.
    """
    if device == "cpu" or (device == "auto" and not any(Path(node).exists() for node in _ACCELERATOR_NODES)):
        return "cpu"
    kind, _, number = device.partition(":")
    if device != "auto" and (kind not in {"cpu", "cuda"} or (number and not number.isdecimal())):
        raise UsageError(f"device '{device}'", expected="auto, cpu, cuda or cuda:N")
    if kind == "cpu":
        return "cpu"
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "device 'cuda', and torch sees no CUDA device", expected="a machine with one", remedy="use `device=` cpu"
        )
    if kind == "cuda" and number and int(number) >= torch.cuda.device_count():
        raise UsageError(
            f"device '{device}', and torch sees {torch.cuda.device_count()} CUDA devices", expected="cuda:0 and so on"
        )
    return device


def settle_dtype(dtype: str, device: str) -> str:
    """Return the data type that `auto` means: float32 on the CPU, bfloat16 on CUDA.

    Raises:
        UsageError: the type is unknown.
    """
    if dtype == "auto":
        return "float32" if device == "cpu" else "bfloat16"
    if dtype not in DTYPE_NAMES:
        raise UsageError(f"dtype '{dtype}'", expected="auto, " + ", ".join(DTYPE_NAMES))
    return dtype
