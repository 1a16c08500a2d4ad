"""Which runs to train: a ladder for a target budget, and the next run after those already made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from forecast.core.errors import UsageError
from forecast.core.scale import check_scale
from forecast.laws.design import NextRun
from forecast.laws.hyperparameters import Sweep
from forecast.laws.optimal import fixed_ratio_frontier
from forecast.laws.planning import LadderBasis, basis_of_runs, printed_basis
from forecast.laws.rungs import Rung, design_rung, doubts, ladder_budgets
from forecast.observations.measurements import Notice, Selection, load_measurements
from forecast.observations.training_runs import CountedRuns, hyperparameter_sweep, training_runs

DEFAULT_FRACTION = 0.01
DEFAULT_RUNGS = 6
_LEAST_TARGET = 1e12
"""Training FLOPs of a target that a ladder of smaller runs still fits below."""
_LEAST_RATIO, _LARGEST_RATIO = 0.01, 1e6
"""Tokens per parameter: from models that hardly see data to a thousand times what over-trained ones see."""
_LONGEST_CONTEXT = 100_000_000


@dataclass(frozen=True, kw_only=True, repr=False)
class Plan:
    """A ladder for a target, and the next run where runs were given."""

    target_flops: float
    target_params: float
    target_tokens: float
    fraction: float
    ladder_flops: float
    """Sum over rungs."""
    allocation: str
    """Where sizes come from."""
    hyperparameters: str
    """Where learning rates and batches come from."""
    rungs: tuple[Rung, ...]
    next_run: NextRun | None
    warnings: tuple[str, ...]
    metric: str | None = None
    """Loss of the runs that were given; None without runs."""
    num_fewshot: int | None = None
    """Shots that it was measured with; None where unknown."""

    def __repr__(self) -> str:
        """Target and ladder, in one line."""
        target = f"{self.target_flops:.3g} FLOPs ({self.target_params:.3g} parameters, {self.target_tokens:.3g} tokens)"
        return f"<Plan for {target}: {len(self.rungs)} rungs, {self.ladder_flops:.3g} FLOPs>"


@dataclass(frozen=True, kw_only=True)
class PlanRequest:
    """What is wanted."""

    target_flops: float
    fraction: float = DEFAULT_FRACTION
    rungs: int = DEFAULT_RUNGS
    tokens_per_param: float | None = None
    """Fixed ratio instead of a compute-optimal one."""
    n_ctx: int = 2048
    """Training context, tokens."""
    flops_per_second: float | None = None
    next_budget: float | None = None
    """Most FLOPs of the next run; what is left of the fraction unless given."""
    seed: int = 0


def make_plan(source: Path | None, selection: Selection, request: PlanRequest, *, metric: str | None, notice: Notice) -> Plan:
    """Plan a ladder; with runs already made, refit the allocation on them and choose the next run.

    Raises:
        UsageError: a number that is out of range.
        ForecastError: the runs cannot be read.
    """
    _check(request)
    if source is None and (selection != Selection() or metric is not None or request.next_budget is not None):
        raise UsageError(
            "runs are chosen (`family=`, `task=`, `where=`, `metric=` or `next_budget=`), and none are given",
            remedy="name them with `table=` or `db=`",
        )
    basis, loss, shots = printed_basis(), None, None
    if source is not None:
        data = load_measurements(source, selection, notice=notice)
        counted = training_runs(data, metric, None, notice=notice)
        loss, shots = counted.metric, data.num_fewshot
        basis = _measured_basis(counted, hyperparameter_sweep(data, loss), request)
    ratio = request.tokens_per_param
    frontier = basis.frontier if ratio is None else fixed_ratio_frontier(ratio)
    rungs = tuple(
        design_rung(
            flops,
            frontier,
            basis.hyperparameters,
            loss_theta=basis.loss_theta,
            n_ctx=request.n_ctx,
            flops_per_second=request.flops_per_second,
        )
        for flops in ladder_budgets(request.fraction * request.target_flops, request.rungs)
    )
    return Plan(
        target_flops=request.target_flops,
        target_params=frontier.params(request.target_flops),
        target_tokens=frontier.tokens(request.target_flops),
        fraction=request.fraction,
        ladder_flops=float(sum(rung.flops for rung in rungs)),
        allocation=frontier.approach,
        hyperparameters=basis.hyperparameters.source,
        rungs=rungs,
        next_run=basis.next_run,
        warnings=tuple(dict.fromkeys((*basis.warnings, *doubts(rungs)))),
        metric=loss,
        num_fewshot=shots,
    )


def _measured_basis(counted: CountedRuns, sweep: Sweep | None, request: PlanRequest) -> LadderBasis:
    return basis_of_runs(
        counted.runs,
        sweep,
        params_kind=counted.params_kind,
        flops_convention=counted.flops_convention,
        target_flops=request.target_flops,
        allowance=request.fraction * request.target_flops,
        next_budget=request.next_budget,
        seed=request.seed,
    )


def _check(request: PlanRequest) -> None:
    check_scale("", flops=request.target_flops, argument="target_flops")
    if request.target_flops < _LEAST_TARGET:
        raise UsageError(f"`target_flops=` is {request.target_flops:g}", expected=f"at least {_LEAST_TARGET:g}")
    if not 0 < request.fraction <= 1:
        raise UsageError(f"fraction is {request.fraction:g}", expected="a number above 0 and at most 1, such as 0.01")
    if not 2 <= request.rungs <= 50:
        raise UsageError(f"{request.rungs} rungs", expected="from 2 to 50")
    ratio = request.tokens_per_param
    if ratio is not None and not _LEAST_RATIO <= ratio <= _LARGEST_RATIO:
        raise UsageError(f"{ratio:g} tokens per parameter", expected=f"from {_LEAST_RATIO:g} to {_LARGEST_RATIO:g}, such as 20")
    for name, value in (
        ("FLOP/s", request.flops_per_second),
        ("next budget", request.next_budget),
    ):
        if value is not None and not (np.isfinite(value) and value > 0):
            raise UsageError(f"{name} is {value}", expected="a positive number")
    if not 1 <= request.n_ctx <= _LONGEST_CONTEXT:
        raise UsageError(f"a context of {request.n_ctx} tokens", expected=f"from 1 to {_LONGEST_CONTEXT:,}, such as 2048")
