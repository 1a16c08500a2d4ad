"""Every approach to compute-optimal training side by side, and what each says of a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecast.core.errors import FitError, UsageError
from forecast.core.units import FLOPS_PER_PARAM_TOKEN
from forecast.laws.envelope import Envelope, envelope_frontier
from forecast.laws.isoflop import APPROACH_BY, Parabola, isoflop_frontier_of
from forecast.laws.optimal import Frontier, TrainingRuns, parametric_frontier, published_frontier
from forecast.laws.registry import get_law
from forecast.laws.result import FitResult

APPROACHES = ("1", "2", "3", "llama3")
_CURVE_REPLICATES = 200
"""Most bootstrap replicates where each draws and cuts loss curves anew."""


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """What one approach says of one budget. Interval ends are None where there are none."""

    approach: str
    flops: float
    params: float
    params_lo: float | None
    params_hi: float | None
    tokens: float
    tokens_lo: float | None
    tokens_hi: float | None
    tokens_per_param: float
    tokens_per_param_lo: float | None
    tokens_per_param_hi: float | None
    a: float
    """Exponent of N* in C."""
    a_lo: float | None
    a_hi: float | None
    measured: bool
    """False for constants that a paper printed."""
    extrapolates: float
    """log10 of the budget over the largest measured run; 0 within the range."""
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class ApproachesFound:
    """What the approaches found on some runs; a part that could not be found is None or empty."""

    frontiers: tuple[Frontier, ...]
    envelope: Envelope | None
    parabolas: tuple[Parabola, ...]
    fit: FitResult | None
    failures: tuple[str, ...]
    """Approaches that these runs do not allow, and why."""


def check_approaches(approaches: Sequence[str]) -> None:
    """Check names of approaches.

    Raises:
        UsageError: there is none of this name.
    """
    for approach in approaches:
        if approach not in APPROACHES:
            raise UsageError(f"there is no approach '{approach}'", expected="any of " + ", ".join(APPROACHES))


def published() -> tuple[Frontier, ...]:
    """Frontiers that follow from printed constants; C = 6 N D."""
    loss = get_law("chinchilla")
    found = [published_frontier(fit.source, tuple(loss.vector(fit.params))) for fit in loss.published]
    for fit in get_law("llama3-tokens").published:
        d0, b = float(np.log(fit.params["A"])), fit.params["alpha"]
        found.append(
            Frontier(
                approach=fit.source,
                n0=-d0 - float(np.log(FLOPS_PER_PARAM_TOKEN)),
                a=1 - b,
                d0=d0,
                b=b,
                replicates=np.empty((0, 4)),
                blocks=0,
                free=2,
                notes=("printed constants; N from 6 N D",),
            )
        )
    return tuple(found)


def apply_approaches(
    every: TrainingRuns, ends: TrainingRuns, *, approaches: Sequence[str] = APPROACHES, replicates: int = 1000, seed: int = 0
) -> ApproachesFound:
    """Apply each approach to the runs that it is meant for.

    Args:
        every: all checkpoints: the envelope of loss curves needs them.
        ends: decayed ends of runs, whose losses are comparable.
        approaches: which of APPROACHES.
        replicates: of each bootstrap.
        seed: of the bootstraps.

    Raises:
        FitError: no approach can be used, with the reason of each.
    """
    frontiers: list[Frontier] = []
    failures: list[str] = []
    envelope: Envelope | None = None
    parabolas: tuple[Parabola, ...] = ()
    result: FitResult | None = None
    if "1" in approaches:
        try:
            frontier, envelope = envelope_frontier(every, replicates=min(replicates, _CURVE_REPLICATES), seed=seed)
            frontiers.append(frontier)
        except FitError as error:
            failures.append(f"Hoffmann 1 (envelope): {error}")
    for approach, by in (("2", "params"), ("llama3", "tokens")):
        if approach not in approaches:
            continue
        try:
            frontier, found = isoflop_frontier_of(
                every, ends, by=by, replicates=replicates, curve_replicates=_CURVE_REPLICATES, seed=seed
            )
            frontiers.append(frontier)
            parabolas = parabolas or tuple(found)
        except FitError as error:
            failures.append(f"{APPROACH_BY[by]}: {error}")
    if "3" in approaches:
        try:
            frontier, result = parametric_frontier(ends, replicates=replicates, seed=seed)
            frontiers.append(frontier)
        except FitError as error:
            failures.append(f"Hoffmann 3 (parametric loss): {error}")
    if not frontiers:
        raise FitError("no approach can be used on these runs: " + " | ".join(failures))
    return ApproachesFound(
        frontiers=tuple(frontiers), envelope=envelope, parabolas=parabolas, fit=result, failures=tuple(failures)
    )


def allocate(frontier: Frontier, flops: float, *, level: float, largest_run: float | None) -> Allocation:
    """Return what a frontier says of a budget; `largest_run` is in FLOPs, None for printed constants."""
    ends = {name: frontier.interval(flops, name, level) for name in ("params", "tokens", "ratio", "a")}
    n, d = frontier.params(flops), frontier.tokens(flops)

    def end(name: str, index: int) -> float | None:
        value = ends[name][index]
        return value if np.isfinite(value) else None

    return Allocation(
        approach=frontier.approach,
        flops=flops,
        params=n,
        params_lo=end("params", 0),
        params_hi=end("params", 1),
        tokens=d,
        tokens_lo=end("tokens", 0),
        tokens_hi=end("tokens", 1),
        tokens_per_param=d / n,
        tokens_per_param_lo=end("ratio", 0),
        tokens_per_param_hi=end("ratio", 1),
        a=frontier.a,
        a_lo=end("a", 0),
        a_hi=end("a", 1),
        measured=largest_run is not None,
        extrapolates=0.0 if largest_run is None else float(max(0.0, np.log10(flops / largest_run))),
        notes=frontier.notes,
    )
