"""Fit one law to measurements, and say what was found: constants, their uncertainty, whether to believe them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from forecast.laws import Constraints, FitResult, SoftValue, Space, fit, get_law
from forecast.laws.bootstrap import Bootstrap, check_level, check_replicates
from forecast.laws.named_losses import loss_title, parse_loss, parse_space
from forecast.laws.quantities import ACCURACIES, ERRORS
from forecast.laws.solver import check_constraints
from forecast.laws.uncertainty import Constant, Uncertainty, quantify
from forecast.observations.law_rows import LawRows, rows_for_law
from forecast.observations.measurements import Measurements, Notice, Selection, load_measurements

__all__ = ["Constant", "FitReport", "FitRequest", "FittedLaw", "fit_rows", "soft_values"]


@dataclass(frozen=True, kw_only=True)
class FitRequest:
    """What to fit, and how."""

    law: str
    columns: Mapping[str, str] = field(default_factory=dict)
    """Law input -> column of the measurements, where names differ."""
    y: str | None = None
    loss: str = ""
    """`huber`, `huber:0.001`, ...; empty: Huber where the law's authors use it, least squares otherwise."""
    space: str | None = None
    fixed: Mapping[str, float] = field(default_factory=dict)
    soft: Mapping[str, SoftValue] = field(default_factory=dict)
    use_sem: bool = False
    """Divide residuals by the measurements' standard errors."""
    level: float = 0.95
    replicates: int = 1000
    """Bootstrap replicates over runs; 0, or fewer than 15 runs of one row each, takes profiles and the sandwich instead."""
    seed: int = 0


def soft_values(given: Mapping[str, tuple[float, float]]) -> dict[str, SoftValue]:
    """Return parameters known roughly, from (mean, standard deviation)."""
    return {name: SoftValue(mean=mean, sd=sd) for name, (mean, sd) in given.items()}


@dataclass(frozen=True, kw_only=True, repr=False)
class FitReport:
    """A fit, ready to print."""

    law: str
    title: str
    formula: str
    reference: str
    family: str
    task: str
    source: str
    x: Mapping[str, str]
    """Law input -> column."""
    y: str
    num_fewshot: int | None
    """Shots that the rows were measured with; None where unknown."""
    chance: float | None
    """Accuracy of guessing, where accuracies are fitted and it is known."""
    flops_convention: str
    n_rows: int
    n_runs: int
    dropped_rows: int
    """Rows without one of the numbers."""
    loss: str
    space: str
    status: str
    message: str
    identified: bool
    reasons: tuple[str, ...]
    objective: float
    iterations: int
    starts: int
    starts_agreed: int
    residual_sd: float | None
    level: float
    uncertainty: str
    """How errors and intervals were found."""
    constants: tuple[Constant, ...]
    extra: Mapping[str, float]
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Law, status and constants, in one line."""
        known = ((entry.name, entry.value, entry.standard_error) for entry in self.constants)
        values = ", ".join(
            f"{name} not identified" if value is None or error is None else f"{name} = {value:.4g} ± {error:.2g}"
            for name, value, error in known
        )
        return f"<FitReport {self.law} of {self.y} ({self.n_rows} rows, {self.status}): {values}>"


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedLaw:
    """A report, and what it was made from: to draw it, and to know it again."""

    report: FitReport
    result: FitResult
    data: Measurements
    """The rows that were fitted."""
    replicates: Bootstrap | None
    """None where errors are not by the bootstrap."""


def fit_rows(source: Path, selection: Selection, request: FitRequest, *, notice: Notice) -> FittedLaw:
    """Load, fit, quantify.

    Raises:
        ForecastError: see `load_measurements`, `rows_for_law` and `forecast.laws.fit`.
    """
    law = get_law(request.law)
    check_constraints(law, Constraints(fixed=request.fixed, soft=request.soft))
    check_level(request.level)
    check_replicates(request.replicates)
    space = parse_space(request.space)
    data = load_measurements(source, selection, notice=notice, partial=True)
    rows = rows_for_law(law, data, request.columns, request.y, notice=notice)
    loss = parse_loss(request.loss, law, rows.data.columns.get("n_items"))
    used_space = getattr(loss, "space", None) or space or law.space
    if used_space is Space.LOG and not loss.is_likelihood:
        rows.check_logarithms()
    result = fit(
        law,
        rows.inputs(),
        rows.data.column(rows.y),
        loss=loss,
        space=space,
        sigma=rows.sigma(space or law.space) if request.use_sem else None,
        fixed=request.fixed,
        soft=request.soft,
        seed=request.seed,
    )
    found = quantify(result, runs=rows.data.runs, level=request.level, replicates=request.replicates, seed=request.seed)
    report = _report(result, rows, found, request.level)
    return FittedLaw(report=report, result=result, data=rows.data, replicates=found.replicates)


def _report(result: FitResult, rows: LawRows, found: Uncertainty, level: float) -> FitReport:
    data, is_accuracy = rows.data, rows.y in (*ACCURACIES, *ERRORS)
    warnings = [*(data.chance_notes if is_accuracy else ()), *found.warnings]
    counted = result.law.flops_convention
    if counted is not None and data.flops_convention != counted:
        warnings.append(f"this law counts FLOPs by the convention '{counted}'; these are by '{data.flops_convention}'")
    return FitReport(
        law=result.law.name,
        title=result.law.title,
        formula=result.law.formula,
        reference=result.law.reference,
        family=data.family,
        task=data.task,
        source=data.source,
        x=dict(rows.x),
        y=rows.y,
        num_fewshot=data.num_fewshot,
        chance=data.chance if is_accuracy and np.isfinite(data.chance) else None,
        flops_convention=data.flops_convention,
        n_rows=len(data),
        n_runs=len(set(data.runs)),
        dropped_rows=rows.dropped,
        loss=loss_title(result.loss),
        space=result.space.value,
        status=result.status.value,
        message=result.message,
        identified=result.identified,
        reasons=result.reasons,
        objective=result.objective,
        iterations=result.iterations,
        starts=result.starts,
        starts_agreed=result.starts_agreed,
        residual_sd=result.noise_sd if np.isfinite(result.noise_sd) else None,
        level=level,
        uncertainty=found.method,
        constants=found.constants,
        extra=dict(result.extra),
        warnings=tuple(warnings),
    )
