"""Fit one law to measurements, and say what was found: constants, their uncertainty, whether to believe them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from forecast.api.options import check_level, check_replicates
from forecast.core.errors import FitError, UsageError
from forecast.core.observations import FloatArray
from forecast.laws import (
    BetaBinomial,
    Binomial,
    Constraints,
    FitResult,
    Huber,
    Law,
    LeastSquares,
    Loss,
    SoftL1,
    SoftValue,
    Space,
    fit,
    get_law,
)
from forecast.laws.bootstrap import MIN_REPLICATES, Bootstrap, bootstrap
from forecast.laws.profile import normal_interval, profile_interval
from forecast.laws.quantities import ACCURACIES, ERRORS
from forecast.laws.solver import check_constraints
from forecast.observations.law_columns import choose_columns
from forecast.observations.measurements import Measurements, Notice, Selection, load_measurements
from forecast.observations.plain_rows import check_used

LOSSES = ("least-squares", "huber", "soft-l1", "binomial", "beta-binomial")
DEFAULT_HUBER = 1e-3
"""Hoffmann 2022, section D.3."""
_FEW_RUNS = 15
_MANY_ROWS = 20_000
"""With more runs than this the sandwich's intervals are those of a profile or a bootstrap, at a thousandth of the cost."""
_CELLS = 50_000_000
"""Bootstrap replicates x rows that are held in memory."""


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


@dataclass(frozen=True, kw_only=True)
class Constant:
    """One fitted parameter. Numbers are None where it is not identified; the standard error is 0 where it was fixed."""

    name: str
    meaning: str
    value: float | None
    standard_error: float | None
    lo: float | None
    hi: float | None
    role: str
    """`free`, `fixed` or `soft`."""


@dataclass(frozen=True, kw_only=True)
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


def parse_loss(text: str, law: Law, n_items: FloatArray | None) -> Loss:
    """Return the loss called `name` or `name:delta`.

    Raises:
        UsageError: unknown name, a delta that is no positive number, or a binomial loss without item counts.

    >>> parse_loss("huber:0.01", get_law("chinchilla"), None)
    Huber(delta=0.01, space=None)
    """
    name, _, detail = text.partition(":")
    name = name.strip().lower().replace("_", "-")
    if not name:
        name = "huber" if law.robust else "least-squares"
    if name not in LOSSES:
        raise UsageError(f"there is no loss '{text}'", expected="one of " + ", ".join(LOSSES))
    try:
        delta = float(detail) if detail else None
    except ValueError:
        delta = -1.0
    if delta is not None and (name not in ("huber", "soft-l1") or not (np.isfinite(delta) and delta > 0)):
        raise UsageError(f"loss '{text}' is not known", expected="huber:DELTA or soft-l1:DELTA with a positive number")
    if name == "huber":
        return Huber(DEFAULT_HUBER if delta is None else delta)
    if name == "soft-l1":
        return SoftL1() if delta is None else SoftL1(delta)
    if name == "least-squares":
        return LeastSquares()
    if n_items is None:
        raise UsageError(f"loss '{name}' needs the number of items", expected="a column n_items")
    return Binomial(n_items) if name == "binomial" else BetaBinomial(n_items)


def fit_law(source: Path, selection: Selection, request: FitRequest, *, notice: Notice) -> tuple[FitReport, FitResult]:
    """Load, fit, quantify.

    Raises:
        ForecastError: see `load_measurements`, `choose_columns` and `forecast.laws.fit`.
    """
    law = get_law(request.law)
    check_constraints(law, Constraints(fixed=request.fixed, soft=request.soft))
    check_level(request.level)
    check_replicates(request.replicates)
    space = _space(request.space)
    data = load_measurements(source, selection, notice=notice, partial=True)
    x_columns, y_column = choose_columns(law, data, request.columns, request.y)
    needed = [*x_columns.values(), y_column]
    complete = np.all([np.isfinite(data.column(name)) for name in needed], axis=0)
    # A checkpoint before training has no place on a scale that starts above zero.
    for entry in law.inputs:
        if entry.positive:
            complete &= ~(data.column(x_columns[entry.name]) == 0.0)
    dropped = int((~complete).sum())
    if dropped:
        notice(f"{dropped} of {len(data)} rows lack one of {', '.join(needed)}, or are untrained, and are left out")
    data = data.take(np.flatnonzero(complete).tolist())
    if not len(data):
        raise FitError(
            f"no row of {data.source} has all of {', '.join(needed)}", remedy="name other columns with `x=` and `y=`"
        )
    _check_scales(law, data, x_columns)
    check_used(data.columns, data.runs, {column: name for name, column in x_columns.items()} | {y_column: y_column})
    items = data.columns.get("n_items")
    result = fit(
        law,
        {name: data.column(column) for name, column in x_columns.items()},
        data.column(y_column),
        loss=parse_loss(request.loss, law, items),
        space=space,
        sigma=_sigma(data, y_column, law, request) if request.use_sem else None,
        fixed=request.fixed,
        soft=request.soft,
        seed=request.seed,
    )
    return report_fit(result, data, x_columns, y_column, request, dropped=dropped), result


def _check_scales(law: Law, data: Measurements, x_columns: Mapping[str, str]) -> None:
    """Name the row by what the user sees; the law itself would count only the rows that are left."""
    for entry in law.inputs:
        values = data.column(x_columns[entry.name])
        bad = np.flatnonzero(values < 0)
        if entry.positive and len(bad):
            raise FitError(
                f"{x_columns[entry.name]} is {values[bad[0]]:g} in row '{data.runs[bad[0]]}'",
                expected=f"a number above 0 ({entry.unit})",
            )


def _space(text: str | None) -> Space | None:
    if text is None:
        return None
    try:
        return Space(text.lower())
    except ValueError:
        raise UsageError(f"there is no residual space '{text}'", expected="log or linear") from None


def _sigma(data: Measurements, y_column: str, law: Law, request: FitRequest) -> FloatArray:
    errors = data.column(f"{y_column}_sem")
    if not np.all(np.isfinite(errors) & (errors > 0)):
        raise FitError(f"some rows have no standard error of {y_column}", remedy="leave out `use_sem=`")
    return errors / data.column(y_column) if (_space(request.space) or law.space) is Space.LOG else errors


def report_fit(
    result: FitResult, data: Measurements, x_columns: Mapping[str, str], y_column: str, request: FitRequest, *, dropped: int
) -> FitReport:
    """Add uncertainty to a fit."""
    warnings = list(data.chance_notes) if y_column in (*ACCURACIES, *ERRORS) else []
    replicates: Bootstrap | None = None
    runs = len(set(data.runs))
    # With few runs of one row each, profiles cover within two points and the bootstrap is too wide (docs/laws.md).
    several = len(data) > runs
    wanted = min(request.replicates, max(_CELLS // len(data), MIN_REPLICATES))
    if wanted > 0 and runs >= max(3, len(result.free)) and (several or _FEW_RUNS <= runs <= _MANY_ROWS):
        if wanted < request.replicates:
            warnings.append(f"{wanted} instead of {request.replicates} bootstrap replicates: there are {len(data):,} rows")
        try:
            replicates = bootstrap(result, replicates=wanted, blocks=data.runs, seed=request.seed)
        except FitError as error:
            warnings.append(f"no bootstrap: {error}")
        else:
            if replicates.failed:
                warnings.append(f"{replicates.failed} of {replicates.requested} bootstrap replicates could not be fitted")
    how = (
        f"bootstrap over {replicates.blocks} runs, {len(replicates.theta)} replicates"
        if replicates
        else "sandwich and profile"
        if len(data) <= _MANY_ROWS
        else "sandwich"
    )
    warnings += [
        f"{name} is at the end of its domain: its error and interval see one side only"
        for name in result.at_bound
        if name not in result.unidentified
    ]
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
        x=dict(x_columns),
        y=y_column,
        num_fewshot=data.num_fewshot,
        chance=data.chance if y_column in (*ACCURACIES, *ERRORS) and np.isfinite(data.chance) else None,
        flops_convention=data.flops_convention,
        n_rows=len(data),
        n_runs=len(set(data.runs)),
        dropped_rows=dropped,
        loss=_loss_name(result.loss),
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
        level=request.level,
        uncertainty=how,
        constants=tuple(_constant(result, replicates, name, request.level) for name in result.law.names),
        extra=dict(result.extra),
        warnings=tuple(warnings),
    )


def _loss_name(loss: Loss) -> str:
    return f"{loss.name} (delta {loss.delta:g})" if isinstance(loss, Huber | SoftL1) else loss.name


def _constant(result: FitResult, replicates: Bootstrap | None, name: str, level: float) -> Constant:
    parameter = result.law.parameters[result.law.names.index(name)]
    role = "fixed" if name in result.constraints.fixed else "soft" if name in result.constraints.soft else "free"
    if name in result.unidentified:
        return Constant(name=name, meaning=parameter.meaning, value=None, standard_error=None, lo=None, hi=None, role=role)
    value = result.params[name]
    if role == "fixed":
        return Constant(name=name, meaning=parameter.meaning, value=value, standard_error=0.0, lo=value, hi=value, role=role)
    if replicates is not None:
        error = replicates.standard_errors()[name]
        lo, hi = replicates.interval(name, level)
    else:
        error = result.standard_errors[name]
        interval = profile_interval if len(result.residuals) <= _MANY_ROWS else normal_interval
        lo, hi = interval(result, name, level=level)
    return Constant(name=name, meaning=parameter.meaning, value=value, standard_error=error, lo=lo, hi=hi, role=role)
