"""Stretches that a run is cut into, each with restart states of its own.

A cosine run is one phase; a warmup-stable-decay run is a trunk at constant rate with, for each budget, a branch that decays
from the trunk's state.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from forecast.catalog.training import ScheduleKind
from forecast.training.plan import Branch, MemberPlan

COMPLETE_MARK = "complete"
"""Written into a restart state after everything else: a state without it was cut off by a kill."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One stretch of steps with its own restart states."""

    name: str
    start: int
    end: int
    branch: Branch
    """Decides the learning rate."""
    after: str | None
    """Phase whose last state this one starts from."""
    is_branch_end: bool


def phases(plan: MemberPlan) -> tuple[Phase, ...]:
    """Cut a run into phases.

    Cosine: one. WSD: trunk to the first decay, its branch, trunk to the second decay, its branch, ...
    """
    if plan.recipe.schedule.kind is ScheduleKind.COSINE:
        branch = plan.branches[-1]
        return (Phase(name="run", start=0, end=branch.end, branch=branch, after=None, is_branch_end=True),)
    chain: list[Phase] = []
    trunk, at = None, 0
    stable = Branch(decay_from=plan.steps, end=plan.steps)
    for branch in plan.branches:
        if branch.decay_from > at:
            name = f"trunk-{branch.decay_from}"
            chain.append(Phase(name=name, start=at, end=branch.decay_from, branch=stable, after=trunk, is_branch_end=False))
            trunk, at = name, branch.decay_from
        chain.append(
            Phase(name=f"branch-{branch.end}", start=at, end=branch.end, branch=branch, after=trunk, is_branch_end=True)
        )
    return tuple(chain)


def _states(folder: Path) -> Iterator[Path]:
    for path in folder.glob("checkpoint-*"):
        if (path / COMPLETE_MARK).is_file():
            yield path


def state_step(state: Path) -> int:
    """Optimiser steps of a restart state."""
    return int(state.name.rpartition("-")[2])


def newest_state(folder: Path) -> Path | None:
    """Return the furthest complete restart state of a phase."""
    return max(_states(folder), key=state_step, default=None)
