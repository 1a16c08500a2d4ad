"""When memory runs out: how torch says so, and what can be given back before a smaller attempt."""

from __future__ import annotations

import torch


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device's, or the machine's, memory did not suffice.

    >>> is_out_of_memory(RuntimeError("[enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate memory"))
    True
    """
    # The CPU allocator raises a plain RuntimeError, which only its text tells apart.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def release_cached_memory() -> None:
    """Hand back what torch keeps of freed blocks: a smaller attempt needs blocks of other sizes."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
