"""Which devices torch sees, for whoever wants to know before an evaluation does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """One GPU."""

    name: str
    total_bytes: int
    free_bytes: int
    has_bfloat16: bool
    """Whether bfloat16 products run at full speed."""


def accelerators() -> list[Accelerator]:
    """Return the CUDA devices that torch can use; empty where it sees none."""
    import torch

    found = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        with torch.cuda.device(index):
            free, total = torch.cuda.mem_get_info()
            found.append(
                Accelerator(
                    name=torch.cuda.get_device_name(index),
                    total_bytes=int(total),
                    free_bytes=int(free),
                    has_bfloat16=torch.cuda.is_bf16_supported(including_emulation=False),
                )
            )
    return found


def threads() -> int:
    """Return how many threads torch computes with on the CPU."""
    import torch

    return torch.get_num_threads()
