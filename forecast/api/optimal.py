"""Compute-optimal size and data at given budgets, by every approach that the measurements allow, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from forecast.api.options import check_level, check_replicates
from forecast.core.errors import FitError, UsageError
from forecast.core.observations import FloatArray
from forecast.core.scale import check_scale
from forecast.core.units import FLOPS_PER_PARAM_TOKEN, FlopsConvention, deepseek_flops_per_token
from forecast.laws import FitResult, get_law
from forecast.laws.envelope import Envelope, envelope_frontier
from forecast.laws.isoflop import Parabola, isoflop_frontier
from forecast.laws.optimal import Frontier, TrainingRuns, parametric_frontier, published_frontier
from forecast.observations.measurements import Measurements, Notice, Selection, load_measurements

if TYPE_CHECKING:
    from matplotlib.figure import Figure

APPROACHES = ("1", "2", "3", "llama3")
_LOSSES = ("loss", "bits_per_byte", "nll_per_byte", "nll_per_char", "nll_per_token", "nll_choice_norm")
COUNTED = tuple(
    kind.value for kind in (FlopsConvention.SIX_ND_TOTAL, FlopsConvention.SIX_ND_NON_EMBEDDING, FlopsConvention.DEEPSEEK_MD)
)
"""Conventions that FLOPs can be counted anew by."""
_CONSTANT_RATIO = 1.05
"""C / (6 N D) within 5 % over all rows: N and C are of one convention."""


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
class OptimalReport:
    """Allocations, and what is needed to draw them."""

    family: str
    task: str
    metric: str
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


def published() -> tuple[Frontier, ...]:
    """Frontiers that follow from printed constants; C = 6 N D."""
    found = [
        published_frontier(fit.source, [fit.params[name] for name in ("A", "B", "E", "alpha", "beta")])
        for fit in get_law("chinchilla").published
    ]
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
    _check(budgets, approaches, level)
    check_replicates(replicates)
    if source is None:
        allocations = [_allocation(frontier, c, level, np.inf, measured=False) for c in budgets for frontier in published()]
        nothing = OptimalDrawing(runs=None, metric="", envelope=None, parabolas=(), fit=None, frontiers=published())
        report = OptimalReport(
            family="",
            task="",
            metric="",
            level=level,
            flops_convention=FlopsConvention.SIX_ND_TOTAL.value,
            params_kind="total",
            n_runs=0,
            min_flops=0.0,
            max_flops=0.0,
            allocations=tuple(allocations),
            failures=(),
        )
        return replace(report, drawing=nothing), nothing
    data = load_measurements(source, replace(selection, finals_only=False), notice=notice)
    finals = load_measurements(source, replace(selection, finals_only=True), notice=lambda _text: None)
    every, name, kind, used = training_runs(data, metric, convention)
    ends, *_ = training_runs(finals, name, used if convention else None)
    drawing, failures = _frontiers(every, ends, approaches, replicates, seed)
    if not drawing.frontiers:
        raise FitError("no approach can be used on these runs: " + " | ".join(failures))
    top = float(np.max(every.flops))
    report = OptimalReport(
        family=data.family,
        task=data.task,
        metric=name,
        level=level,
        flops_convention=used,
        params_kind=kind,
        n_runs=len(set(every.run)),
        min_flops=float(np.min(every.flops)),
        max_flops=top,
        allocations=tuple(
            _allocation(frontier, c, level, top, measured=True) for c in budgets for frontier in drawing.frontiers
        ),
        failures=tuple(failures),
    )
    drawing = replace(drawing, metric=name)
    return replace(report, drawing=drawing), drawing


def _check(budgets: Sequence[float], approaches: Sequence[str], level: float) -> None:
    for budget in budgets:
        check_scale("", flops=budget, argument="budgets")
    for approach in approaches:
        if approach not in APPROACHES:
            raise UsageError(f"there is no approach '{approach}'", expected="any of " + ", ".join(APPROACHES))
    check_level(level)


def training_runs(data: Measurements, metric: str | None, convention: str | None) -> tuple[TrainingRuns, str, str, str]:
    """Return runs, the loss metric's name, which parameters N counts, and the convention of C.

    Raises:
        UsageError: no loss column, no parameters or tokens, or a convention that the rows lack the numbers for.
    """
    present = [name for name in _LOSSES if name in data.columns]
    name = metric or (present[0] if present else "loss")
    loss = data.column(name)
    tokens = data.column("tokens")
    if convention is not None:
        params, per_token, kind = _count_anew(data, convention)
        flops, used = per_token * tokens, convention
    else:
        flops = data.column("flops")
        column, used = _matching_params(data, flops, tokens)
        params, kind = data.column(column), "total" if column == "params" else "non-embedding"
    usable = np.isfinite(loss) & (loss > 0) & np.isfinite(params) & np.isfinite(tokens) & (tokens > 0)
    usable &= np.isfinite(flops) & (flops > 0) & (params > 0)
    rows = np.flatnonzero(usable)
    if len(rows) == 0:
        raise UsageError(f"{data.source} has no row with {name}, {kind} parameters, tokens and FLOPs")
    runs = TrainingRuns(params=params, tokens=tokens, flops=flops, loss=loss, run=data.runs).take(rows)
    return runs, name, kind, used


def _count_anew(data: Measurements, convention: str) -> tuple[FloatArray, FloatArray, str]:
    """Parameters, FLOPs per token, and which parameters these are, by a convention that can be counted from a table's columns.

    DeepSeek's C = M D measures size by M alone; here by M / 6, so that C = 6 N D holds as elsewhere.
    """
    if convention not in COUNTED:
        raise UsageError(f"FLOPs cannot be counted by '{convention}' here", expected=" or ".join(COUNTED))
    if convention == FlopsConvention.SIX_ND_TOTAL.value:
        params = data.column("params")
        return params, FLOPS_PER_PARAM_TOKEN * params, "total"
    if convention == FlopsConvention.SIX_ND_NON_EMBEDDING.value:
        params = data.column("params_non_embedding")
        return params, FLOPS_PER_PARAM_TOKEN * params, "non-embedding"
    shape = [data.column(name) for name in ("n_layer", "d_model", "n_ctx")]
    per_token = np.array([_per_token(*row) for row in zip(*shape, strict=True)])
    return per_token / FLOPS_PER_PARAM_TOKEN, per_token, "M / 6"


def _per_token(n_layer: float, d_model: float, n_ctx: float) -> float:
    whole = all(np.isfinite(value) and value >= 1 for value in (n_layer, d_model, n_ctx))
    return deepseek_flops_per_token(int(n_layer), int(d_model), int(n_ctx)) if whole else float("nan")


def _matching_params(data: Measurements, flops: FloatArray, tokens: FloatArray) -> tuple[str, str]:
    """Which count of parameters the FLOPs were made with, and by what name that convention goes."""
    columns = [name for name in ("params", "params_non_embedding") if name in data.columns]
    for column, name in (("params", "6nd-total"), ("params_non_embedding", "6nd-non-embedding")):
        if column in columns:
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = flops / (FLOPS_PER_PARAM_TOKEN * data.column(column) * tokens)
            ratio = ratio[np.isfinite(ratio)]
            if len(ratio) and np.max(np.abs(np.log(ratio))) <= np.log(_CONSTANT_RATIO):
                return column, name
    if not columns:
        data.column("params")
    return columns[0], data.flops_convention


def _frontiers(
    every: TrainingRuns, ends: TrainingRuns, approaches: Sequence[str], replicates: int, seed: int
) -> tuple[OptimalDrawing, list[str]]:
    frontiers: list[Frontier] = []
    failures: list[str] = []
    envelope: Envelope | None = None
    parabolas: tuple[Parabola, ...] = ()
    result: FitResult | None = None
    if "1" in approaches:
        try:
            frontier, envelope = envelope_frontier(every, replicates=min(replicates, 200), seed=seed)
            frontiers.append(frontier)
        except FitError as error:
            failures.append(f"Hoffmann 1 (envelope): {error}")
    for approach, by in (("2", "params"), ("llama3", "tokens")):
        if approach not in approaches:
            continue
        try:
            frontier, found = _isoflop(every, ends, by, replicates, seed)
            frontiers.append(frontier)
            parabolas = parabolas or tuple(found)
        except FitError as error:
            failures.append(f"{'Hoffmann 2 (isoFLOP in log N)' if by == 'params' else 'Llama 3 (isoFLOP in log D)'}: {error}")
    if "3" in approaches:
        try:
            frontier, result = parametric_frontier(ends, replicates=replicates, seed=seed)
            frontiers.append(frontier)
        except FitError as error:
            failures.append(f"Hoffmann 3 (parametric loss): {error}")
    drawing = OptimalDrawing(
        runs=every, metric="", envelope=envelope, parabolas=parabolas, fit=result, frontiers=tuple(frontiers)
    )
    return drawing, failures


def _isoflop(every: TrainingRuns, ends: TrainingRuns, by: str, replicates: int, seed: int) -> tuple[Frontier, list[Parabola]]:
    """Ends of runs where they share budgets; otherwise all checkpoints, whose curves are cut."""
    attempts: list[Callable[[], tuple[Frontier, list[Parabola]]]] = [
        lambda: isoflop_frontier(ends, by=by, replicates=replicates, seed=seed)
    ]
    if len(every) > len(ends):
        attempts.append(lambda: isoflop_frontier(every, by=by, replicates=min(replicates, 200), seed=seed))
    for attempt in attempts[:-1]:
        try:
            return attempt()
        except FitError:
            continue
    return attempts[-1]()


def _allocation(frontier: Frontier, flops: float, level: float, top: float, *, measured: bool) -> Allocation:
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
        measured=measured,
        extrapolates=float(max(0.0, np.log10(flops / top))) if np.isfinite(top) else 0.0,
        notes=frontier.notes,
    )
