"""What a ladder is planned by: where sizes, losses and hyper-parameters come from, and the run to train next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecast.core.errors import FitError
from forecast.laws.design import NextRun, choose_next_run
from forecast.laws.hyperparameters import HyperparameterLaws, Sweep, printed_hyperparameters, refitted_hyperparameters
from forecast.laws.law import FloatArray
from forecast.laws.optimal import Frontier, TrainingRuns, parametric_frontier, published_frontier
from forecast.laws.registry import get_law


@dataclass(frozen=True, kw_only=True, eq=False)
class LadderBasis:
    """Laws that a ladder is designed with."""

    frontier: Frontier
    """Where sizes come from."""
    loss_theta: FloatArray
    """Constants of the `chinchilla` law."""
    hyperparameters: HyperparameterLaws
    next_run: NextRun | None = None
    warnings: tuple[str, ...] = ()


def printed_basis() -> LadderBasis:
    """Return the basis that printed constants give: no runs are needed."""
    law = get_law("chinchilla")
    printed = law.printed
    assert printed is not None, "chinchilla has printed constants"
    theta = law.vector(printed.params)
    return LadderBasis(
        frontier=published_frontier(f"{printed.source} (printed constants)", tuple(theta)),
        loss_theta=theta,
        hyperparameters=printed_hyperparameters(),
    )


def basis_of_runs(
    runs: TrainingRuns,
    sweep: Sweep | None,
    *,
    params_kind: str,
    flops_convention: str,
    target_flops: float,
    allowance: float,
    next_budget: float | None,
    seed: int,
) -> LadderBasis:
    """Refit on runs what they allow; the rest comes from printed constants, and `warnings` say so.

    Args:
        runs: losses of runs already made.
        sweep: their learning rates and batches, where known.
        params_kind: which parameters the runs count.
        flops_convention: how their FLOPs are counted.
        target_flops: the run to be forecast.
        allowance: FLOPs for the whole ladder.
        next_budget: most FLOPs of the next run; None takes what the runs left of the allowance.
        seed: of fits and policies.
    """
    warnings: list[str] = []
    basis = printed_basis()
    frontier, loss_theta, hyperparameters, next_run = basis.frontier, basis.loss_theta, basis.hyperparameters, None
    if params_kind == "total":
        warnings.append("the runs count all parameters, embeddings included; rungs are sized without embeddings")
    try:
        frontier, result = parametric_frontier(runs, replicates=0, seed=seed)
        loss_theta = result.theta
    except FitError as error:
        warnings.append(f"allocation by printed constants: {error}")
    if sweep is not None:
        hyperparameters = refitted_hyperparameters(sweep) or hyperparameters
    budget = next_budget or max(allowance - float(np.sum(runs.flops)), 0.0)
    try:
        next_run = choose_next_run(runs, frontier, target_flops, budget, seed=seed)
        warnings.append(
            "the next run is best per FLOP if the law is right; where it may not be, prefer larger runs (docs/laws.md)"
        )
    except FitError as error:
        warnings.append(f"no next run: {error}")
    if flops_convention == "published":
        warnings.append("FLOPs of the runs are as published; the target is taken to be counted alike")
    return LadderBasis(
        frontier=frontier,
        loss_theta=loss_theta,
        hyperparameters=hyperparameters,
        next_run=next_run,
        warnings=tuple(warnings),
    )
