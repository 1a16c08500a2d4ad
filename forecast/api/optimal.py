"""Compute-optimal size and data at given budgets, by every approach that the measurements allow, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from forecast.core.errors import UsageError
from forecast.core.scale import check_scale
from forecast.core.units import FlopsConvention
from forecast.laws import FitResult
from forecast.laws.approaches import APPROACHES, Allocation, allocate, apply_approaches, check_approaches, published
from forecast.laws.bootstrap import check_level, check_replicates
from forecast.laws.envelope import Envelope
from forecast.laws.isoflop import Parabola
from forecast.laws.optimal import Frontier, TrainingRuns
from forecast.observations.measurements import Notice, Selection, load_measurements
from forecast.observations.training_runs import training_runs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["APPROACHES", "OptimalDrawing", "OptimalReport", "find_optimum"]


@dataclass(frozen=True, kw_only=True, eq=False)
class OptimalReport:
    """Allocations, and what is needed to draw them."""

    family: str
    task: str
    metric: str
    num_fewshot: int | None
    """Shots that the rows were measured with; None where unknown."""
    level: float
    flops_convention: str
    params_kind: str
    n_runs: int
    min_flops: float
    max_flops: float
    allocations: tuple[Allocation, ...]
    failures: tuple[str, ...]
    """Approaches that these measurements do not allow, and why."""
    drawing: OptimalDrawing | None = field(default=None, repr=False, metadata={"plain": False})
    """Curves to draw; None where printed constants alone were used."""

    def __repr__(self) -> str:
        """Whose runs, and the first allocation, in one line."""
        first = self.allocations[0]
        found = f"{first.flops:.3g} FLOPs: {first.params:.3g} parameters, {first.tokens:.3g} tokens ({first.approach})"
        more = f" and {len(self.allocations) - 1} more" if len(self.allocations) > 1 else ""
        return f"<OptimalReport {self.family or 'printed constants'}: {found}{more}>"

    def plot(self) -> Figure:
        """Return parabolas, envelope and contours as a matplotlib Figure.

        Raises:
            UsageError: printed constants alone were used: there are no runs to draw.
        """
        from forecast.report.optimal_figure import optimal_figure

        drawing = self.drawing
        if drawing is None or drawing.runs is None:
            raise UsageError("there are no runs to draw with printed constants", remedy="name a source of runs")
        return optimal_figure(
            runs=drawing.runs,
            metric=drawing.metric,
            envelope=drawing.envelope,
            parabolas=drawing.parabolas,
            fit=drawing.fit,
            frontiers=drawing.frontiers,
            budgets=list(dict.fromkeys(entry.flops for entry in self.allocations)),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class OptimalDrawing:
    """Curves behind a report; a part that could not be found is None."""

    runs: TrainingRuns | None
    metric: str
    envelope: Envelope | None
    parabolas: tuple[Parabola, ...]
    fit: FitResult | None
    frontiers: tuple[Frontier, ...]


def find_optimum(
    source: Path | None,
    selection: Selection,
    budgets: Sequence[float],
    *,
    approaches: Sequence[str] = APPROACHES,
    metric: str | None = None,
    convention: str | None = None,
    level: float = 0.9,
    replicates: int = 1000,
    seed: int = 0,
    notice: Notice,
) -> tuple[OptimalReport, OptimalDrawing]:
    """Find N*, D* and tokens per parameter at each budget; without a source, by printed constants only.

    Raises:
        UsageError: a budget, level or approach that cannot be meant; a convention that the rows cannot be counted by.
        FitError: no approach can be used, with the reason of each.
    """
    for budget in budgets:
        check_scale("", flops=budget, argument="budgets")
    check_approaches(approaches)
    check_level(level)
    check_replicates(replicates)
    if source is None:
        return _printed(budgets, level)
    data = load_measurements(source, replace(selection, finals_only=False), notice=notice)
    finals = load_measurements(source, replace(selection, finals_only=True), notice=lambda _text: None)
    every = training_runs(data, metric, convention, notice=notice)
    ends = training_runs(finals, every.metric, convention, notice=lambda _text: None)
    found = apply_approaches(every.runs, ends.runs, approaches=approaches, replicates=replicates, seed=seed)
    largest = float(every.runs.flops.max())
    report = OptimalReport(
        family=data.family,
        task=data.task,
        metric=every.metric,
        num_fewshot=data.num_fewshot,
        level=level,
        flops_convention=every.flops_convention,
        params_kind=every.params_kind,
        n_runs=len(set(every.runs.run)),
        min_flops=float(every.runs.flops.min()),
        max_flops=largest,
        allocations=tuple(
            allocate(frontier, c, level=level, largest_run=largest) for c in budgets for frontier in found.frontiers
        ),
        failures=found.failures,
    )
    drawing = OptimalDrawing(
        runs=every.runs,
        metric=every.metric,
        envelope=found.envelope,
        parabolas=found.parabolas,
        fit=found.fit,
        frontiers=found.frontiers,
    )
    return replace(report, drawing=drawing), drawing


def _printed(budgets: Sequence[float], level: float) -> tuple[OptimalReport, OptimalDrawing]:
    frontiers = published()
    report = OptimalReport(
        family="",
        task="",
        metric="",
        num_fewshot=None,
        level=level,
        flops_convention=FlopsConvention.SIX_ND_TOTAL.value,
        params_kind="total",
        n_runs=0,
        min_flops=0.0,
        max_flops=0.0,
        allocations=tuple(allocate(frontier, c, level=level, largest_run=None) for c in budgets for frontier in frontiers),
        failures=(),
    )
    drawing = OptimalDrawing(runs=None, metric="", envelope=None, parabolas=(), fit=None, frontiers=frontiers)
    return report, drawing
