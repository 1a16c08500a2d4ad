"""What is asked of a ladder: which of its runs are fitted, which is hidden, and what of the tasks beside it may be seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from forecast.core.errors import NotForecastableError
from forecast.core.forecasts import Target
from forecast.core.nearest import require
from forecast.core.observations import Ladder
from forecast.observations.task_groups import members_of


def hold_out(ladder: Ladder, model: str) -> tuple[Ladder, Ladder, Target]:
    """Split a ladder into all other runs, the held-out run, and the target that its end stands for.

    Only the named run is removed; runs larger than it stay.

    Raises:
        UsageError: no run has that name.
        NotForecastableError: the run has no known training FLOPs.
    """
    require("model", [model], set(ladder.model))
    own = np.array([name == model for name in ladder.model])
    held = ladder.take(own)
    known = np.isfinite(held.flops) & (held.flops > 0)
    if not known.any():
        raise NotForecastableError(
            f"the training FLOPs of '{model}' are unknown", remedy="give `flops=`, or `params=` and `tokens=`"
        )
    ends = known & held.is_final if (known & held.is_final).any() else known
    end = int(np.flatnonzero(ends)[np.argmax(held.flops[ends])])

    def number(value: float) -> float | None:
        return float(value) if np.isfinite(value) and value > 0 else None

    target = Target(name=model, params=number(held.params[end]), tokens=number(held.tokens[end]), flops=number(held.flops[end]))
    return ladder.take(~own), held.take(np.array([end])), target


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of one ladder."""

    ladder: Ladder
    targets: Sequence[Target] = ()
    holdout: str | None = None
    """A run to forecast from all others; its rows are never fitted."""
    fit_max_flops: float | None = None

    def split(self) -> tuple[Ladder, list[Target], Ladder | None]:
        """Return the ladder to fit on, all targets, and the end of the held-out run.

        Raises:
            NotForecastableError: nothing is left to fit on, the held-out run is not among the task's, or its FLOPs are unknown.
        """
        fitted, wanted, held = self.ladder, list(self.targets), None
        if self.holdout is not None:
            if self.holdout not in fitted.model:
                raise NotForecastableError(f"{fitted.family} has no results of '{self.holdout}' on {fitted.task}")
            fitted, held, target = hold_out(fitted, self.holdout)
            wanted.append(target)
        if self.fit_max_flops is not None:
            fitted = fitted.take(fitted.flops <= self.fit_max_flops)
            if len(fitted) == 0:
                raise NotForecastableError(
                    f"no run of {fitted.family} on {fitted.task} has at most {self.fit_max_flops:g} FLOPs"
                )
        return fitted, wanted, held


@dataclass(frozen=True, kw_only=True)
class Window:
    """What a question may see of a task beside its own."""

    ladder: Ladder
    targets: tuple[Target, ...]
    rows: bytes
    """Which rows of the sibling these are."""

    @property
    def key(self) -> tuple[str, bytes, tuple[Target, ...]]:
        """Equal for equal windows."""
        return self.ladder.task, self.rows, self.targets


def window_of(sibling: Ladder, fitted: Ladder, targets: Sequence[Target], holdout: str | None) -> Window:
    """Return the sibling's runs up to the largest that is fitted, without the held-out one, and without items.

    So its back-tests look as far ahead as the question does, and what is hidden from the question is hidden here.
    """
    top = float(np.max(fitted.flops, initial=0.0, where=np.isfinite(fitted.flops)))
    with np.errstate(invalid="ignore"):
        seen = (sibling.flops <= top) & np.array([name != holdout for name in sibling.model])
    return Window(ladder=replace(sibling, items=None).take(seen), targets=tuple(targets), rows=seen.tobytes())


def windows_beside(question: Question, fitted: Ladder, targets: Sequence[Target], siblings: Sequence[Ladder]) -> list[Window]:
    """Return the windows of all siblings but the task itself and, for a group, its members; in the order of their names."""
    task = question.ladder.task
    names = {ladder.task for ladder in siblings} - {task}
    others = names - set(members_of(task, names))
    chosen = sorted((ladder for ladder in siblings if ladder.task in others), key=lambda ladder: ladder.task)
    return [window_of(ladder, fitted, targets, question.holdout) for ladder in chosen]
