"""What this machine offers: device, memory, matmul rate; and the training settings that follow from them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from forecast.catalog.training import TrainingRecipe
from forecast.core.errors import UsageError
from forecast.training.plan import MemberPlan, choose_micro_sequences
from forecast.training.settings import TrainingSettings

_CPU_SHARE = 0.8
"""Share of the free memory that training may plan with; estimates are not exact."""
_MICRO_BATCH_BYTES_ON_CPU = 1.5e9
"""Memory that a micro-batch may take on a CPU: larger ones gain nothing, and small ones stay near the caches."""
_COMPILE_FROM_FLOPS = 1e16
"""FLOPs from which a run is compiled: compiling costs about a minute, and a shorter run ends sooner without it."""
_MATMUL_SIZE = {"cpu": 768, "cuda": 8192}


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The device that trains."""

    device: str
    """cpu or cuda."""
    name: str
    cores: int
    processes: int
    """Number of processes that torchrun started; 1 without torchrun."""
    free_memory_bytes: float
    """Free memory of the device."""
    supports_bfloat16: bool
    """Whether bfloat16 products run at full speed."""


def look_at_machine(device: str = "auto") -> Machine:
    """Find out what is here.

    Raises:
        UsageError: CUDA is asked for and there is none.
    """
    import torch

    processes = int(os.environ.get("WORLD_SIZE", "1"))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if device not in {"auto", "cpu", "cuda"}:
        raise UsageError(f"device '{device}'", expected="auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("no CUDA device", expected="a GPU that torch can use", remedy="use `device=` cpu")
    if device != "cpu" and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        free_bytes, _ = torch.cuda.mem_get_info()
        return Machine(
            device="cuda",
            name=torch.cuda.get_device_name(),
            cores=cores,
            processes=processes,
            free_memory_bytes=float(free_bytes),
            supports_bfloat16=torch.cuda.is_bf16_supported(including_emulation=False),
        )
    return Machine(
        device="cpu",
        name="cpu",
        cores=cores,
        processes=processes,
        free_memory_bytes=_free_memory_bytes(),
        supports_bfloat16=False,
    )


def _free_memory_bytes() -> float:
    """Memory that can be taken without swapping; where the system does not say (macOS), all there is."""
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        for line in meminfo.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024.0 * float(line.split()[1])
    return float(os.sysconf("SC_PAGE_SIZE")) * float(os.sysconf("SC_PHYS_PAGES"))


def measure_matmul_rate(machine: Machine, *, threads: int, bfloat16: bool) -> float:
    """FLOPs per second of a square matrix product in the precision that training uses: MFU's denominator."""
    import torch

    from forecast.scoring.matmul_timing import fastest_product

    if machine.device == "cpu":
        torch.set_num_threads(threads)
    return fastest_product(
        torch.matmul,
        size=_MATMUL_SIZE[machine.device],
        dtype=torch.bfloat16 if bfloat16 else torch.float32,
        device=machine.device,
        repeats=4,
    )


def settle_settings(
    plan: MemberPlan,
    machine: Machine,
    *,
    threads: int,
    jobs: int,
    peak_flops_per_second: float,
    state_every_seconds: float,
    validation_sequences: int,
) -> TrainingSettings:
    """Choose precision, compilation and micro-batch for one member.

    Raises:
        UsageError: the batch cannot be shared equally among the processes.
        InputError: the member does not fit the memory.
    """
    recipe = plan.recipe
    if plan.batch_sequences % machine.processes:
        raise UsageError(
            f"member '{plan.member.name}' has {plan.batch_sequences} sequences a step for {machine.processes} processes",
            expected="a multiple",
            remedy="set its batch_tokens in the card",
        )
    per_device = plan.batch_sequences // machine.processes
    limit = _CPU_SHARE * machine.free_memory_bytes / (jobs if machine.device == "cpu" else 1)
    micro = choose_micro_sequences(plan, per_device=per_device, memory_limit_bytes=limit)
    if machine.device == "cpu":
        lean = plan.memory_bytes(0) + _MICRO_BATCH_BYTES_ON_CPU
        while micro > 1 and (per_device % micro or plan.memory_bytes(micro) > lean):
            micro -= 1
    cuda = machine.device == "cuda"
    return TrainingSettings(
        use_cuda=cuda,
        bfloat16=wants_bfloat16(recipe, machine),
        compile=recipe.compile == "always"
        or (recipe.compile == "auto" and cuda and plan.hardware_flops >= _COMPILE_FROM_FLOPS),
        threads=threads,
        micro_sequences=micro,
        accumulation=per_device // micro,
        state_every_seconds=state_every_seconds,
        log_every_steps=10 if cuda else 1,
        peak_flops_per_second=peak_flops_per_second * machine.processes,
        validation_sequences=validation_sequences,
    )


def wants_bfloat16(recipe: TrainingRecipe, machine: Machine) -> bool:
    """Whether products are taken in bfloat16 (weights and optimiser stay float32)."""
    return recipe.precision == "bfloat16" or (recipe.precision == "auto" and machine.supports_bfloat16)
